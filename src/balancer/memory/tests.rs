use super::*;
use crate::balancer::memory::tables::FORGET_AFTER_TTLS;
use crate::balancer::origin::Endpoints;
use crate::media::format::Format;

const FLV: PinFormat = PinFormat::Live(Some(Format::Flv));
const TTL: Duration = Duration::from_secs(300);

fn origin(server: &str, ip: &str, http: u16) -> Origin {
    Origin {
        server: server.to_owned(),
        service: "s".to_owned(),
        pid: "1".to_owned(),
        device_id: String::new(),
        ip: ip.parse().unwrap(),
        endpoints: Endpoints {
            http: vec![http.to_string()],
            ..Endpoints::default()
        },
    }
}

/// Origins `a`, `b` … at ports 1, 2 … of one machine.
fn with(servers: &[&str]) -> Memory {
    let memory = Memory::new(TTL);
    for (port, server) in (1..).zip(servers) {
        memory.register(origin(server, "192.0.2.1", port)).unwrap();
    }
    memory
}

fn stream(name: &str) -> StreamUrl {
    StreamUrl::parse(&format!("__defaultVhost__/live/{name}")).unwrap()
}

fn id(server: &str) -> OriginId {
    format!("{server}-s-1").into()
}

/// The servers of all candidates, in order.
fn order(memory: &Memory) -> Vec<String> {
    let candidates = memory.candidates();
    candidates
        .iter()
        .map(|it| it.origin.server.clone())
        .collect()
}

fn state(memory: &Memory, server: &str) -> OriginState {
    let views = memory.origins();
    let own = views.iter().find(|it| it.origin.server == server);
    own.unwrap().state
}

fn pinned(memory: &Memory, name: &str) -> Option<String> {
    let pin = memory.pinned(&stream(name))?;
    Some(pin.origin.server.clone())
}

/// Makes it so much longer ago that the server was heard of, and that it was suspected.
fn age(memory: &Memory, server: &str, by: Duration) {
    let mut state = memory.lock();
    for entry in state.entries.values_mut() {
        if entry.origin.server == server {
            entry.heartbeats.age_by(by);
            if let Some(it) = &mut entry.suspicion {
                it.until = it.until.checked_sub(by).unwrap_or(it.until);
            }
        }
    }
}

#[test]
fn a_pin_sticks_until_it_moves() {
    let memory = with(&["a", "b"]);
    assert_eq!(pinned(&memory, "x"), None);
    memory.pin(&stream("x"), &id("b"), FLV);
    assert_eq!(pinned(&memory, "x").as_deref(), Some("b"));
    memory.unpin(&stream("x"), &id("a"), FLV);
    assert_eq!(pinned(&memory, "x").as_deref(), Some("b"), "not a's");
    memory.pin(&stream("x"), &id("a"), FLV);
    assert_eq!(pinned(&memory, "x").as_deref(), Some("a"));
    assert_eq!(memory.lock().pins.len(), 1);
    memory.unpin(&stream("x"), &id("a"), FLV);
    assert_eq!((pinned(&memory, "x"), memory.lock().pins.len()), (None, 0));
    memory.pin(&stream("x"), &"nobody".into(), FLV);
    assert_eq!(pinned(&memory, "x"), None);
}

#[test]
fn fewest_streams_first_then_draining_then_suspect() {
    let memory = with(&["a", "b", "c", "d"]);
    assert_eq!(order(&memory), ["a", "b", "c", "d"]);
    for (name, server) in [("1", "a"), ("2", "a"), ("3", "b")] {
        memory.pin(&stream(name), &id(server), FLV);
    }
    assert_eq!(order(&memory), ["c", "d", "b", "a"]);
    memory.suspect(&id("c"), "it was refused");
    assert_eq!(memory.drain(&id("d"), true), Ok(true));
    assert_eq!(order(&memory), ["b", "a", "d", "c"]);
    assert_eq!(memory.drain(&id("d"), false), Ok(true));
    assert_eq!(order(&memory), ["d", "b", "a", "c"]);
    assert_eq!(memory.drain("nobody", true), Ok(false));
}

#[test]
fn a_stale_origin_is_no_candidate_while_another_lives() {
    let memory = with(&["a", "b"]);
    age(&memory, "a", TTL);
    assert_eq!(state(&memory, "a"), OriginState::Stale);
    assert_eq!(order(&memory), ["b"]);
    // Draining is alive; what cannot be connected is not much.
    memory.drain(&id("b"), true).unwrap();
    assert_eq!(order(&memory), ["b"]);
    memory.suspect(&id("b"), "it was refused");
    assert_eq!(order(&memory), ["b", "a"]);
    age(&memory, "b", TTL);
    assert_eq!(order(&memory), ["a", "b"], "nobody lives: all may be asked");
    memory.register(origin("a", "192.0.2.1", 1)).unwrap();
    assert_eq!(order(&memory), ["a"]);
}

#[test]
fn suspicion_lasts_five_seconds_or_until_the_next_heartbeat() {
    let memory = with(&["a"]);
    memory.suspect(&id("a"), "it was refused");
    age(&memory, "a", Duration::from_millis(4500));
    assert_eq!(state(&memory, "a"), OriginState::Suspect);
    age(&memory, "a", Duration::from_millis(500));
    assert_eq!(state(&memory, "a"), OriginState::Alive);
    memory.suspect(&id("a"), "it was refused");
    memory.register(origin("a", "192.0.2.1", 1)).unwrap();
    assert_eq!(state(&memory, "a"), OriginState::Alive);
}

#[test]
fn a_restart_keeps_pins_and_draining_under_its_new_id() {
    let memory = with(&["a", "b"]);
    memory.pin(&stream("x"), &id("a"), FLV);
    memory.drain(&id("a"), true).unwrap();
    let mut again = origin("a", "192.0.2.1", 9);
    again.service = "new".to_owned();
    memory.register(again).unwrap();
    let pin = memory.pinned(&stream("x")).unwrap();
    assert_eq!((&*pin.id, pin.state), ("a-new-1", OriginState::Draining));
    assert_eq!(pin.origin.http_address().unwrap().port(), 9);
    assert_eq!(memory.origins().len(), 2);
}

#[test]
fn what_a_registration_replaces() {
    // (registered before, registers now, who is there then)
    let here = "192.0.2.1";
    type Known<'a> = (&'a str, &'a str, u16);
    let rows: [(&[Known<'_>], Known<'_>, &[&str]); 6] = [
        (&[("a", here, 1)], ("a", here, 1), &["a:1"]),
        (&[("a", here, 1)], ("a", here, 2), &["a:2"]),
        (&[("a", here, 1)], ("b", here, 1), &["b:1"]),
        (&[("a", here, 1)], ("b", here, 2), &["a:1", "b:2"]),
        (&[("a", here, 1)], ("a", "192.0.2.2", 1), &["a:1", "a:1"]),
        // It moves to another's port: both its own old entry and the other one go.
        (
            &[("b", here, 1), ("a", here, 2), ("c", here, 3)],
            ("a", here, 1),
            &["a:1", "c:3"],
        ),
    ];
    for (before, now, expected) in rows {
        let memory = Memory::new(TTL);
        for (server, ip, port) in before {
            memory.register(origin(server, ip, *port)).unwrap();
            memory.pin(&stream(server), &id(server), FLV);
        }
        memory.register(origin(now.0, now.1, now.2)).unwrap();
        let mut there: Vec<String> = memory
            .origins()
            .iter()
            .map(|it| {
                let port = it.origin.http_address().unwrap().port();
                format!("{}:{port}", it.origin.server)
            })
            .collect();
        there.sort();
        assert_eq!(there, expected, "{before:?}, then {now:?}");
        // Pins are the server's where it has only moved.
        if before.iter().any(|it| (it.0, it.1) == (now.0, now.1)) {
            assert_eq!(pinned(&memory, now.0).as_deref(), Some(now.0));
        }
        let counted: usize = memory.origins().iter().map(|it| it.streams).sum();
        assert_eq!(counted, memory.lock().pins.len(), "no pin leads nowhere");
    }
}

#[test]
fn origins_that_take_no_http_are_no_candidates() {
    let memory = Memory::new(TTL);
    for ip in ["192.0.2.1", "192.0.2.2"] {
        let mut without = origin("rtmp", ip, 1);
        without.endpoints.http.clear();
        memory.register(without).unwrap();
    }
    assert!(memory.candidates().is_empty());
    assert_eq!(memory.origins().len(), 2);
}

#[test]
fn two_servers_with_one_id_at_one_address_both_stay_when_both_go_on_beating() {
    let memory = Memory::new(TTL);
    let one = origin("twin", "192.0.2.1", 1);
    let mut two = origin("twin", "192.0.2.1", 2);
    two.service = "t".to_owned();
    memory.register(one.clone()).unwrap();
    memory.register(two.clone()).unwrap();
    assert_eq!(memory.origins().len(), 1, "it may be a restart");
    for _ in 0..3 {
        memory.register(one.clone()).unwrap();
        memory.register(two.clone()).unwrap();
        let mut ids: Vec<String> = memory
            .origins()
            .iter()
            .map(|it| it.id.to_string())
            .collect();
        ids.sort();
        assert_eq!(ids, ["twin-s-1", "twin-t-1"]);
    }
}

#[test]
fn clones_both_stay_and_never_share_an_id() {
    let memory = Memory::new(TTL);
    for _ in 0..3 {
        for ip in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            memory.register(origin("clone", ip, 1)).unwrap();
        }
    }
    assert_eq!(memory.lock().clones.len(), 1, "warned of once");
    let ids: Vec<String> = memory
        .candidates()
        .iter()
        .map(|it| it.id.to_string())
        .collect();
    let own = [
        "clone-s-1",
        "clone-s-1@192.0.2.2:1",
        "clone-s-1@192.0.2.3:1",
    ];
    assert_eq!(ids, own, "and each heartbeat keeps its id");
    memory.pin(&stream("x"), &own[1].into(), FLV);
    memory.suspect(&own[2].into(), "it was refused");
    let states: Vec<_> = memory.origins().iter().map(|it| it.state).collect();
    assert_eq!(
        states
            .iter()
            .filter(|it| **it == OriginState::Suspect)
            .count(),
        1
    );
    let pin = memory.pinned(&stream("x")).unwrap();
    assert_eq!(pin.origin.ip.to_string(), "192.0.2.2");
}

#[test]
fn the_table_is_bounded_and_gives_room_to_the_living() {
    let memory = Memory::new(TTL);
    let nth = |n: usize| {
        let ip = format!("10.0.{}.{}", n / 250, n % 250 + 1);
        origin(&format!("o{n}"), &ip, 1)
    };
    for n in 0..MAX_ORIGINS {
        memory.register(nth(n)).unwrap();
    }
    assert!(memory.register(nth(MAX_ORIGINS)).is_err());
    assert!(
        memory.register(nth(5)).is_ok(),
        "a known one is always taken"
    );
    memory.pin(&stream("x"), &id("o7"), FLV);
    age(&memory, "o7", TTL);
    assert!(memory.register(nth(MAX_ORIGINS)).is_ok(), "for a stale one");
    assert_eq!(memory.origins().len(), MAX_ORIGINS);
    assert_eq!((pinned(&memory, "x"), memory.lock().pins.len()), (None, 0));
}

#[test]
fn who_has_been_silent_for_very_long_is_forgotten() {
    let memory = with(&["a", "b"]);
    age(&memory, "a", TTL * (FORGET_AFTER_TTLS + 1));
    assert_eq!(memory.origins().len(), 2);
    memory.register(origin("c", "192.0.2.1", 3)).unwrap();
    assert_eq!(order(&memory), ["b", "c"]);
    assert_eq!(memory.origins().len(), 2);
}
