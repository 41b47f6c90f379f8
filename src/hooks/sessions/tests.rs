//! Which sessions are known, by which names, and when they are over.

use super::*;
use crate::hooks::stops::Stops;
use crate::hooks::viewer::ServerIds;

fn stops() -> Arc<Stops> {
    let ids = ServerIds {
        server_id: String::new(),
        service_id: String::new(),
    };
    let urls = crate::config::HookList::parse("http://127.0.0.1:1/")
        .unwrap()
        .0;
    Stops::new(urls, Duration::from_secs(1), Arc::new(ids))
}

fn stream(name: &str) -> StreamUrl {
    StreamUrl::parse(&format!("v/live/{name}")).unwrap()
}

fn enter(sessions: &Sessions, stops: &Arc<Stops>, name: Option<&str>) -> Arc<Session> {
    let number = sessions.next_number();
    let viewer = Viewer {
        client_id: format!("p-h{number}"),
        ip: [192, 0, 2, 1].into(),
        stream: stream("a"),
        host: String::new(),
        param: String::new(),
        page_url: String::new(),
    };
    let watch = Watch::new(viewer.clone(), stops.clone());
    sessions
        .enter(number, viewer, watch, name)
        .session()
        .clone()
}

fn is_known(sessions: &Sessions, name: &str, of: Option<&str>) -> bool {
    let stream = of.map(stream);
    matches!(sessions.find(name, stream.as_ref()), Known::Session(_))
}

#[test]
fn a_session_is_known_by_its_names_for_its_stream() {
    let (sessions, stops) = (Sessions::with_max(10, None), stops());
    let one = enter(&sessions, &stops, Some("came-with"));
    assert_eq!(one.id().len(), ID_LENGTH);
    let known = |name: &str, of| is_known(&sessions, name, of);
    assert!(known(one.id(), None) && known(one.id(), Some("a")));
    assert!(!known(one.id(), Some("b")), "another stream");
    assert!(known("came-with", Some("a")));
    assert!(!known("came-with", None), "its segments have the id");
    sessions.learn(&one, "ctx", &stream("a"));
    assert!(known("ctx", None) && known("ctx", Some("a")));
    sessions.allow(&one, one.id(), &stream("b"));
    assert!(known(one.id(), Some("b")));
    let other = enter(&sessions, &stops, Some("ctx"));
    assert_ne!(one.id(), other.id());
    sessions.kick("p-h2");
    assert!(known("ctx", None), "a name stays its session's");
    for n in 0..2 * MAX_NAMES {
        sessions.learn(&one, &n.to_string(), &stream("a"));
    }
    assert!(sessions.table.lock().names.len() <= 2 * MAX_NAMES);
    sessions.end();
    drop((one, other)); // as requests that are being answered
    assert_eq!(stops.waiting(), 2);
}

#[test]
fn who_does_not_ask_for_three_target_durations_has_left() {
    let (sessions, stops) = (Sessions::with_max(10, None), stops());
    let (idle, busy) = (
        enter(&sessions, &stops, None),
        enter(&sessions, &stops, None),
    );
    idle.set_target(Duration::from_secs(2));
    assert!(!idle.is_over(sessions.now() + 5900) && idle.is_over(sessions.now() + 6100));
    let Known::Session(held) = sessions.find(busy.id(), None) else {
        panic!("it is there")
    };
    assert!(!busy.is_over(u64::MAX), "a request is being answered");
    drop(held);
    assert!(busy.is_over(sessions.now() + 31_000));
    sessions.sweep();
    assert_eq!(sessions.views(None).len(), 2);
    sessions.kick("p-h1").unwrap();
    assert!(sessions.kick("p-h1").is_none() && sessions.kick("p-h9").is_none());
    assert_eq!((sessions.views(None).len(), stops.waiting()), (1, 1));
    assert!(matches!(sessions.find(idle.id(), None), Known::Refused));
    assert!(!idle.is_over(sessions.now() + 50_000) && idle.is_over(sessions.now() + 61_000));
}

#[test]
fn another_process_goes_on_with_a_session() {
    let (old, new, stops) = (
        Sessions::with_max(10, None),
        Sessions::with_max(10, None),
        stops(),
    );
    let one = enter(&old, &stops, Some("came-with"));
    old.learn(&one, "ctx", &stream("a"));
    one.bytes.store(7, Ordering::Relaxed);
    let text = serde_json::to_string(&old.records()).unwrap();
    let late = enter(&old, &stops, None);
    let records: Vec<SessionRecord> = serde_json::from_str(&text).unwrap();
    assert_eq!(records.len(), 1);
    old.leave_to_successor();
    let resume = |viewer, ago, bytes| Watch::resume(viewer, stops.clone(), ago, bytes);
    new.restore(&records[0], resume);
    for (name, of) in [
        (one.id(), None),
        ("ctx", Some("a")),
        ("came-with", Some("a")),
    ] {
        assert!(
            is_known(&new, name, of) && is_known(&old, name, of),
            "{name}"
        );
    }
    assert_eq!(new.views(None)[0].bytes, 7);
    assert_eq!(new.views(None)[0].viewer.client_id, "p-h1");
    drop((one, late));
    old.end();
    assert_eq!(stops.waiting(), 1, "the late one's");
    new.end();
    assert_eq!(stops.waiting(), 2);
    new.restore(&SessionRecord::default(), resume);
    assert!(new.views(None).is_empty(), "it is no session");
}

#[test]
fn the_oldest_make_room_and_have_left_then() {
    let (sessions, stops) = (Sessions::with_max(3, None), stops());
    let all: Vec<_> = (0..3).map(|_| enter(&sessions, &stops, None)).collect();
    all[0].seen.store(7, Ordering::Relaxed);
    all[1].seen.store(0, Ordering::Relaxed);
    all[2].seen.store(5, Ordering::Relaxed);
    let id = all[1].id().to_owned();
    drop(all);
    enter(&sessions, &stops, None);
    assert!(!is_known(&sessions, &id, None));
    assert_eq!((sessions.views(None).len(), stops.waiting()), (3, 1));
    let table = sessions.table.lock();
    assert_eq!(table.names.len(), 6);
}
