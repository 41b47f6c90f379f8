use super::*;
use crate::balancer::Candidate;
use crate::balancer::origin::{Endpoints, Origin, OriginState};
use std::sync::Arc;
use std::sync::LazyLock;

const MS: Duration = Duration::from_millis(1);

fn stream() -> StreamUrl {
    StreamUrl::parse("v.example/live/a").unwrap()
}

fn candidate(id: &str, state: OriginState) -> Candidate {
    let origin = Origin {
        server: id.to_owned(),
        service: String::new(),
        pid: String::new(),
        device_id: String::new(),
        ip: "127.0.0.1".parse().unwrap(),
        endpoints: Endpoints::default(),
    };
    Candidate {
        id: id.into(),
        origin: Arc::new(origin),
        state,
    }
}

/// The one moment of these tests.
fn now() -> Instant {
    static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);
    *NOW
}

fn ago(time: Duration) -> Instant {
    now().checked_sub(time).unwrap()
}

fn answer(age: Duration, url: Option<&str>) -> Answer {
    let publishing = url.map(|url| {
        let entry = serde_json::json!({"url": url, "publish": {"active": true}});
        let page = serde_json::json!({"code": 0, "streams": [entry]});
        crate::locate::published::of_page(&page)
    });
    Answer {
        round: 1,
        began: ago(age),
        publishing,
        late: false,
    }
}

fn ids(names: &[&str]) -> Vec<OriginId> {
    names.iter().map(|name| OriginId::from(*name)).collect()
}

fn query<'a>(stream: &'a StreamUrl, news: &'a [(OriginId, Instant)]) -> PublishQuery<'a> {
    PublishQuery {
        stream,
        candidates: &[],
        since: now(),
        news,
        pin: None,
        until: None,
    }
}

#[test]
fn news_makes_void_what_was_said_before_it() {
    let mut state = Rounds::default();
    for id in ["old", "new"] {
        let said = answer(1000 * MS, Some("v.example/live/a"));
        state.answers.insert(id.into(), said);
    }
    let (stream, pin) = (stream(), candidate("old", OriginState::Alive));
    let failed = |age: u32| [(OriginId::from("old"), ago(age * MS))];
    let before = failed(1500);
    let status = state.status(&query(&stream, &before), now());
    assert_eq!(status.hits.len(), 2, "it has been listed again since");
    let after = failed(500);
    let status = state.status(&query(&stream, &after), now());
    assert_eq!(status.hits, ids(&["new"]));
    assert!(status.misses.is_empty(), "nothing is known of it");
    // A round from before the news does not do, though it knows the pin.
    state.before = Some(ago(2000 * MS));
    state.newest = Some(Round {
        began: ago(1000 * MS),
        asked: ids(&["old"]).into_iter().collect(),
        awaited: HashSet::new(),
    });
    let asks = |news, since| PublishQuery {
        pin: Some(&pin),
        since,
        ..query(&stream, news)
    };
    assert_eq!(
        state.lack(&asks(&before, ago(HIT_TIME)), now()),
        Lack::Nothing
    );
    assert_eq!(state.lack(&asks(&after, ago(500 * MS)), now()), Lack::Round);
}

#[test]
fn fresh_answers_make_the_verdict_and_an_exact_vhost_rules() {
    let mut state = Rounds::default();
    let young = Duration::ZERO;
    for (id, age, url) in [
        ("default", young, Some("/live/a")),
        ("other", young, Some("/live/b")),
        ("ill", young, None),
        ("old", HIT_TIME + 100 * MS, Some("v.example/live/a")),
    ] {
        state.answers.insert(id.into(), answer(age, url));
    }
    let status = state.status(&query(&stream(), &[]), now());
    assert_eq!(status.hits, ids(&["default"]));
    assert_eq!(status.misses, ids(&["other"]));
    assert!(!status.exact);
    let exact = answer(young, Some("v.example/live/a"));
    state.answers.insert("exact".into(), exact);
    let mut status = state.status(&query(&stream(), &[]), now());
    status.misses.sort();
    assert_eq!(status.hits, ids(&["exact"]));
    assert_eq!(status.misses, ids(&["default", "other"]));
    assert!(status.exact);
}

#[test]
fn what_settles_an_inquiry_before_all_have_answered() {
    use OriginState::{Alive, Draining};
    let candidates = [
        candidate("a", Alive),
        candidate("b", Alive),
        candidate("d", Draining),
    ];
    let stream = stream();
    // (pinned to, hits, exact, misses, settled)
    type Row<'a> = (Option<usize>, &'a [&'a str], bool, &'a [&'a str], bool);
    let rows: [Row<'_>; 10] = [
        (None, &[], false, &["a", "b", "d"], false),
        (None, &["a"], true, &[], true),
        (None, &["a"], false, &[], false), // an exact one may still come
        (None, &["d"], true, &[], false),  // so may one that is not draining
        (Some(0), &["a"], true, &[], true),
        (Some(0), &["a"], false, &["b"], true),
        (Some(0), &["b"], true, &[], false), // the pinned one has a word in it
        (Some(0), &["b"], true, &["a"], true),
        (Some(2), &["d"], true, &[], false), // it drains: does another have it?
        (Some(2), &["d"], true, &["a"], false),
    ];
    for (pin, hits, exact, misses, settled) in rows {
        let query = PublishQuery {
            stream: &stream,
            candidates: &candidates,
            since: now(),
            pin: pin.map(|at| &candidates[at]),
            until: None,
            news: &[],
        };
        let status = PublishStatus {
            hits: ids(hits),
            exact,
            misses: ids(misses),
        };
        let what = format!("{pin:?} {status:?}");
        assert_eq!(query.is_settled_by(&status), settled, "{what}");
    }
}

#[test]
fn which_rounds_are_new_enough() {
    let stream = stream();
    let pin = candidate("pin", OriginState::Alive);
    let round = |age: Duration, asked: &[&str], awaited: &[&str]| Round {
        began: ago(age),
        asked: ids(asked).into_iter().collect(),
        awaited: ids(awaited).into_iter().collect(),
    };
    let lack = |state: &Rounds, since: Duration, pin: Option<&Candidate>| {
        let query = PublishQuery {
            stream: &stream,
            candidates: &[],
            since: ago(since),
            pin,
            until: None,
            news: &[],
        };
        match state.lack(&query, now()) {
            Lack::Nothing => "nothing",
            Lack::Time(_) => "time",
            Lack::Round => "round",
        }
    };
    let mut state = Rounds::default();
    assert_eq!(lack(&state, HIT_TIME, None), "round", "there was none yet");

    state.newest = Some(round(100 * MS, &["pin"], &["pin"]));
    assert_eq!(lack(&state, 300 * MS, None), "time", "it is not over");
    state.newest = Some(round(100 * MS, &["pin"], &[]));
    assert_eq!(lack(&state, 300 * MS, None), "nothing");
    assert_eq!(lack(&state, 50 * MS, None), "time", "one a second");
    state.newest = Some(round(API_TIME, &["pin"], &["pin"]));
    assert_eq!(lack(&state, HIT_TIME, None), "nothing", "500 ms at most");
    state.newest = Some(round(ROUND_GAP, &["pin"], &[]));
    assert_eq!(lack(&state, 300 * MS, None), "round");

    // A new round in the background keeps nobody waiting whom the one before it can answer.
    state.before = Some(ago(1100 * MS));
    state.newest = Some(round(50 * MS, &["pin"], &["pin"]));
    assert_eq!(lack(&state, HIT_TIME, None), "nothing");
    assert_eq!(lack(&state, 500 * MS, None), "time");
    assert_eq!(lack(&state, HIT_TIME, Some(&pin)), "time", "pin is asked");
    state.answers.insert("pin".into(), answer(1100 * MS, None));
    assert_eq!(lack(&state, HIT_TIME, Some(&pin)), "nothing");

    // One that has registered since is not known by the last round.
    let new = candidate("new", OriginState::Alive);
    state.newest = Some(round(200 * MS, &["pin"], &[]));
    assert_eq!(lack(&state, HIT_TIME, Some(&new)), "time");
    state.newest = Some(round(ROUND_GAP, &["pin"], &[]));
    assert_eq!(lack(&state, HIT_TIME, Some(&new)), "round");
}

#[test]
fn a_plain_web_server_is_not_asked_again_for_an_api() {
    let with_api = |id: &str| {
        let mut candidate = candidate(id, OriginState::Alive);
        let origin = Arc::make_mut(&mut candidate.origin);
        origin.endpoints.api = vec!["1985".to_owned()];
        candidate
    };
    let mut candidates = vec![with_api("a"), candidate("none", OriginState::Alive)];
    let mut state = Rounds::default();
    let stream = stream();
    let known = |state: &Rounds, candidates: &[Candidate], until: Option<Instant>| {
        let query = PublishQuery {
            stream: &stream,
            candidates,
            since: now(),
            pin: None,
            until,
            news: &[],
        };
        state.knows_no_api(&query, now())
    };
    assert!(!known(&state, &candidates, None), "nothing is known");
    let mut answers = |answer: Answer| {
        state.answers.insert("a".into(), answer);
        known(&state, &candidates, None)
    };
    assert!(!answers(answer(MS, Some("/live/b"))), "it has one");
    assert!(!answers(answer(HIT_TIME + MS, None)), "long ago");
    let late = Answer {
        late: true,
        ..answer(MS, None)
    };
    assert!(!answers(late), "it may answer the next time");
    assert!(answers(answer(MS, None)));
    let held = known(&state, &candidates, Some(now() + HIT_TIME));
    assert!(!held, "else who is held would ask without end");
    candidates.push(with_api("b"));
    assert!(!known(&state, &candidates, None), "one may have");
}
