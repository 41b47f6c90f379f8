use super::*;
use crate::media::format::Format;
use Listing::{Listed, Missed, Unknown};
use OriginState::{Alive, Draining, Late, Suspect};

/// An alive origin with that listing, of which nothing else is known.
fn origin(listing: Listing) -> Prospect {
    Prospect {
        state: Alive,
        listing,
        pinned: false,
        found: false,
        serves_unlisted: false,
        doubted: false,
        failed_lately: false,
        tried: Tried::default(),
    }
}

fn pinned(listing: Listing) -> Prospect {
    Prospect {
        pinned: true,
        ..origin(listing)
    }
}

fn edge() -> Prospect {
    Prospect {
        serves_unlisted: true,
        ..origin(Missed)
    }
}

fn doubted(it: Prospect) -> Prospect {
    Prospect {
        doubted: true,
        ..it
    }
}

fn failed_lately(it: Prospect) -> Prospect {
    Prospect {
        failed_lately: true,
        ..it
    }
}

fn with_state(state: OriginState, it: Prospect) -> Prospect {
    Prospect { state, ..it }
}

/// The origin was asked in this look-up, in vain.
fn asked(it: Prospect) -> Prospect {
    let tried = Tried {
        count: 1,
        ..it.tried
    };
    Prospect { tried, ..it }
}

/// The origin was asked because its API listed the stream.
fn asked_as_listed(it: Prospect) -> Prospect {
    let mut it = asked(it);
    it.tried.listed = true;
    it
}

/// The origin was asked and sent no head within a short time.
fn timed_out(it: Prospect) -> Prospect {
    let mut it = asked(it);
    it.tried.timed_out_early = true;
    it
}

const LIVE: Circumstances = Circumstances {
    wanted: Wanted::Live(Some(Format::Flv)),
    hold: Hold::Possible,
    held: false,
    try_unlisted: TryUnlisted::Last,
    unlisted: 0,
    after_5xx: None,
    patient: false,
};
const PLAYLIST: Circumstances = Circumstances {
    wanted: Wanted::Playlist,
    ..LIVE
};
const SEGMENT: Circumstances = Circumstances {
    wanted: Wanted::Segment,
    ..LIVE
};
/// The player has been held for as long as players are.
const HELD: Circumstances = Circumstances {
    hold: Hold::Over,
    held: true,
    ..LIVE
};

/// The plan in words: `A:Listed`, `B:Probe/1s`, then `hold`, `404` or `end`.
fn words(prospects: &[Prospect], now: &Circumstances) -> String {
    let plan = plan(prospects, now);
    let mut words: Vec<String> = plan
        .attempts
        .iter()
        .map(|it| {
            let name = char::from(b'A' + u8::try_from(it.at).unwrap());
            let time = it
                .timeout
                .map_or(String::new(), |time| format!("/{time:?}"));
            format!("{name}:{:?}{time}", it.reason)
        })
        .collect();
    words.push(
        match plan.then {
            Then::Hold => "hold",
            Then::NotFound => "404",
            Then::Exhausted => "end",
        }
        .to_owned(),
    );
    words.join(" ")
}

#[track_caller]
fn assert_plans(rows: &[(&str, &[Prospect], Circumstances, &str)]) {
    for (rule, prospects, now, expected) in rows {
        assert_eq!(&words(prospects, now), expected, "{rule}");
    }
}

#[test]
fn the_pin_is_a_hint() {
    assert_plans(&[
        (
            "the pin first, as long as its API lists the stream",
            &[origin(Listed), pinned(Listed)],
            LIVE,
            "B:PinListed A:Listed end",
        ),
        (
            "a listing elsewhere beats a pin whose API misses the stream",
            &[pinned(Missed), origin(Listed)],
            LIVE,
            "B:Listed hold",
        ),
        (
            "a listing elsewhere beats a pin whose API says nothing",
            &[pinned(Unknown), origin(Listed)],
            LIVE,
            "B:Listed A:Pin end",
        ),
        (
            "without any listing the pin is asked, shortly while others are left",
            &[origin(Unknown), pinned(Unknown)],
            LIVE,
            "B:Pin/1s A:Probe end",
        ),
        (
            "alone the pin has its whole time",
            &[pinned(Unknown)],
            LIVE,
            "A:Pin end",
        ),
        (
            "a pin whose API refuses us is not waited for while a publisher may come elsewhere",
            &[pinned(Unknown), origin(Missed)],
            LIVE,
            "A:Pin/1s hold",
        ),
        (
            "a request that origins hold on purpose has its whole time at the pin",
            &[pinned(Unknown), origin(Unknown)],
            Circumstances {
                patient: true,
                ..PLAYLIST
            },
            "A:Pin B:Probe end",
        ),
        (
            "SRS keeps the last playlist of an ended stream; a live request would be held",
            &[pinned(Missed), origin(Missed)],
            PLAYLIST,
            "A:PinMissed/1s hold",
        ),
        (
            "not so a live request",
            &[pinned(Missed), origin(Missed)],
            LIVE,
            "hold",
        ),
        (
            "a draining pin keeps only what no other has",
            &[with_state(Draining, pinned(Listed)), origin(Listed)],
            LIVE,
            "B:Listed A:PinListed end",
        ),
        (
            "a late pin is asked after the others",
            &[origin(Unknown), with_state(Late, pinned(Unknown))],
            LIVE,
            "A:Probe/1s B:Probe end",
        ),
        (
            "a suspect pin, too",
            &[origin(Unknown), with_state(Suspect, pinned(Unknown))],
            LIVE,
            "A:Probe/1s B:Probe end",
        ),
        (
            "among equals the pin comes first",
            &[
                with_state(Suspect, origin(Unknown)),
                with_state(Suspect, pinned(Unknown)),
            ],
            LIVE,
            "B:Probe/1s A:Probe end",
        ),
    ]);
}

#[test]
fn apis_lead_the_way() {
    assert_plans(&[
        (
            "those who list it, and nobody who does not",
            &[origin(Missed), origin(Listed), origin(Missed)],
            LIVE,
            "B:Listed hold",
        ),
        (
            "an origin that was silent about the stream, or broke it off, comes after the other",
            &[doubted(origin(Listed)), origin(Listed)],
            LIVE,
            "B:Listed A:Listed end",
        ),
        (
            "where the stream has just failed it gets a second, while others may have it",
            &[failed_lately(pinned(Listed)), origin(Unknown)],
            LIVE,
            "A:PinListed/1s B:Probe end",
        ),
        (
            "and its whole time once they have not got it, before a publisher is waited for",
            &[
                timed_out(asked_as_listed(failed_lately(origin(Listed)))),
                asked(origin(Unknown)),
                origin(Missed),
            ],
            LIVE,
            "A:Again hold",
        ),
        (
            "where no other may have it, its whole time at once",
            &[failed_lately(pinned(Listed)), origin(Missed)],
            LIVE,
            "A:PinListed hold",
        ),
        (
            "a suspect one, too",
            &[with_state(Suspect, origin(Listed)), origin(Listed)],
            LIVE,
            "B:Listed A:Listed end",
        ),
        (
            "one that was asked as listed is not asked again",
            &[asked_as_listed(origin(Listed)), origin(Missed)],
            LIVE,
            "hold",
        ),
        (
            "one that was asked before it was listed is",
            &[asked(origin(Listed))],
            LIVE,
            "A:Listed end",
        ),
        (
            "who is listed after the player was held has begun to publish",
            &[pinned(Listed), origin(Missed)],
            Circumstances { held: true, ..LIVE },
            "A:Published hold",
        ),
    ]);
}

#[test]
fn trying_where_apis_do_not_tell() {
    assert_plans(&[
        (
            "in the balancer's order, with a second each while others are left",
            &[origin(Unknown), origin(Unknown), origin(Unknown)],
            LIVE,
            "A:Probe/1s B:Probe/1s C:Probe end",
        ),
        (
            "doubted, late and suspect ones last, never skipped",
            &[
                with_state(Suspect, origin(Unknown)),
                doubted(origin(Unknown)),
                origin(Unknown),
            ],
            LIVE,
            "C:Probe/1s B:Probe/1s A:Probe end",
        ),
        (
            "what nothing has ruled out gets its whole time in the end",
            &[timed_out(origin(Unknown)), asked(origin(Unknown))],
            LIVE,
            "A:Again end",
        ),
        (
            "but not before a publisher was waited for",
            &[timed_out(origin(Unknown)), origin(Missed)],
            LIVE,
            "hold",
        ),
    ]);
}

#[test]
fn unlisted_streams_are_waited_for_first() {
    let many = [origin(Missed); 5];
    let try_unlisted = |try_unlisted, now| Circumstances {
        try_unlisted,
        ..now
    };
    assert_plans(&[
        ("nobody is asked, but waited for", &many, LIVE, "hold"),
        (
            "then two are asked",
            &many,
            HELD,
            "A:Unlisted/5s B:Unlisted/5s 404",
        ),
        (
            "one of them has been",
            &[asked(origin(Missed)), origin(Missed), origin(Missed)],
            Circumstances {
                unlisted: 1,
                ..HELD
            },
            "B:Unlisted/5s 404",
        ),
        (
            "never: a 404",
            &many,
            try_unlisted(TryUnlisted::Never, HELD),
            "404",
        ),
        (
            "first: two at once",
            &many,
            try_unlisted(TryUnlisted::First, LIVE),
            "A:Unlisted/5s B:Unlisted/5s hold",
        ),
        (
            "an edge, as it is known to be, at once",
            &[origin(Missed), edge()],
            LIVE,
            "B:Edge/5s hold",
        ),
        (
            "not where it was silent about this stream",
            &[origin(Missed), doubted(edge())],
            LIVE,
            "hold",
        ),
        (
            "its 404 may be old once the player was held",
            &[asked(edge())],
            HELD,
            "A:Unlisted/5s 404",
        ),
        (
            "what another player has found meanwhile",
            &[
                origin(Missed),
                Prospect {
                    found: true,
                    ..origin(Missed)
                },
            ],
            Circumstances { held: true, ..LIVE },
            "B:Found/5s hold",
        ),
        (
            "where a listed origin was asked in vain the others are left alone",
            &[asked_as_listed(origin(Listed)), origin(Missed)],
            HELD,
            "end",
        ),
    ]);
}

#[test]
fn a_5xx_of_an_origin_that_has_the_stream_asks_one_other() {
    let after = |asked| Circumstances {
        after_5xx: Some(asked),
        ..LIVE
    };
    let ill = asked_as_listed(pinned(Listed));
    assert_plans(&[
        (
            "one that lists it",
            &[ill, origin(Unknown), origin(Listed)],
            after(0),
            "C:Listed end",
        ),
        (
            "or one of which nothing is known",
            &[ill, origin(Unknown), origin(Unknown)],
            after(0),
            "B:Probe end",
        ),
        (
            "none that has not got it, and no second",
            &[ill, origin(Missed), edge()],
            after(0),
            "end",
        ),
        ("no second", &[ill, origin(Listed)], after(1), "end"),
    ]);
}

#[test]
fn segments_follow_the_pin() {
    assert_plans(&[
        (
            "whatever APIs say, with its whole time",
            &[origin(Listed), pinned(Missed)],
            SEGMENT,
            "B:Pin A:Listed end",
        ),
        (
            "without a pin as a stream, but nobody waits for a segment",
            &[origin(Missed), origin(Unknown), origin(Missed)],
            SEGMENT,
            "B:Probe/1s A:Unlisted/5s C:Unlisted/5s end",
        ),
        (
            "a suspect pin after the others",
            &[origin(Unknown), with_state(Suspect, pinned(Unknown))],
            SEGMENT,
            "A:Probe/1s B:Probe end",
        ),
    ]);
}

/// Whatever is known: no origin is asked twice in one plan, and an unlisted one is never asked before its time.
#[test]
fn no_plan_asks_twice_or_too_early() {
    for seed in 0..20_000_u64 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let prospects: Vec<Prospect> = (0..rng.usize(1..5))
            .map(|_| Prospect {
                state: *rng.choice([&Alive, &Draining, &Late, &Suspect]).unwrap(),
                listing: *rng.choice([&Listed, &Missed, &Unknown]).unwrap(),
                pinned: rng.bool(),
                found: false,
                serves_unlisted: false,
                doubted: rng.bool(),
                failed_lately: rng.bool(),
                tried: Tried {
                    count: rng.usize(0..2),
                    listed: rng.bool(),
                    unreachable: rng.bool(),
                    timed_out_early: rng.bool(),
                },
            })
            .collect();
        let plan = plan(&prospects, &LIVE);
        let mut asked: Vec<usize> = plan.attempts.iter().map(|it| it.at).collect();
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(asked.len(), plan.attempts.len(), "{prospects:?}");
        for attempt in plan.attempts {
            let missed = prospects[attempt.at].listing == Missed;
            assert!(!missed, "{prospects:?}: {attempt:?}");
        }
    }
}
