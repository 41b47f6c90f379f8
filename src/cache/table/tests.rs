use super::*;
use crate::cache::head::{EntryHead, Retention, SharedHead};
use crate::http::head::parse;
use proptest::prelude::*;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const MANY: usize = 1000;

fn key(n: usize) -> Key {
    let stream = StreamUrl::parse("a.example/live/a").unwrap();
    let head = format!("GET /live/a-{n}.ts HTTP/1.1\r\nHost: a.example\r\n\r\n");
    Key::segment(&stream, &parse(head.as_bytes()).unwrap())
}

fn complete(entry: &CacheEntry, body: &[u8]) {
    entry.fill(body);
    entry.publish(EntryHead::Shared(Arc::new(SharedHead {
        status: 200,
        headers: Arc::default(),
        length: body.len() as u64,
        origin: Some("o".into()),
        address: String::new(),
        pin: None,
        came: Instant::now(),
        age: Duration::ZERO,
        keep: Retention::AfterTheEnd(LONG),
    })));
    entry.end(Ok(()));
}

/// Asks for a segment, and brings it in where that is left to do. Returns whether it was there.
fn ask(table: &CacheTable, n: usize, size: usize, time: Duration) -> bool {
    match table.enter(&key(n), None) {
        TableLookup::Ready(_) => true,
        TableLookup::First(entry) => {
            let Some(reservation) = table.reserve(&key(n), size as u64) else {
                table.remove(&key(n), &entry);
                return false;
            };
            entry.occupy(reservation);
            complete(&entry, &vec![0; size]);
            table.keep(&key(n), &entry, Instant::now() + time);
            false
        }
        other => panic!("{other:?} of whom?"),
    }
}

fn consistent(table: &CacheTable) {
    let state = table.lock();
    let weights = state.entries.values().map(|stored| stored.entry.weight());
    assert!(weights.sum::<u64>() <= table.limit());
    let kept = state
        .entries
        .values()
        .filter(|stored| stored.kept.is_some());
    assert_eq!(state.order.len(), kept.count());
}

proptest! {
    #[test]
    fn it_is_bounded_whatever_comes(
        asked in prop::collection::vec((0..20_usize, 0..6000_usize, 0..3_u64), 1..200),
    ) {
        let table = CacheTable::new(16_000, MANY);
        for (n, size, seconds) in asked {
            ask(&table, n, size, Duration::from_secs(seconds));
            consistent(&table);
        }
        table.sweep(Instant::now() + LONG);
        prop_assert!(table.lock().entries.is_empty());
        prop_assert_eq!(table.bytes(), 0);
    }
}

#[test]
fn the_least_recently_used_goes_and_what_is_too_large_never_comes() {
    let table = CacheTable::new(10_000, MANY);
    let ask = |n| ask(&table, n, 3000, LONG);
    assert_eq!(
        [ask(1), ask(2), ask(1), ask(3)],
        [false, false, true, false]
    );
    assert_eq!([ask(1), ask(3), ask(2)], [true, true, false]);
    assert!(!super::tests::ask(&table, 9, 10_000, LONG));
    assert!(!super::tests::ask(&table, 9, 10_000, LONG));
}

#[test]
fn only_the_present_transfer_of_a_key_is_kept_or_removed() {
    let table = CacheTable::new(16_000, MANY);
    let TableLookup::First(old) = table.enter(&key(1), None) else {
        panic!("the first");
    };
    table.remove(&key(1), &old);
    assert!(!ask(&table, 1, 10, LONG));
    complete(&old, b"old");
    table.keep(&key(1), &old, Instant::now() + LONG);
    table.remove(&key(1), &old);
    assert!(ask(&table, 1, 10, LONG), "the new one has stayed");
    consistent(&table);
}

#[test]
fn another_origins_are_forgotten() {
    let table = CacheTable::new(16_000, MANY);
    ask(&table, 1, 10, LONG);
    table.forget_others(key(1).stream(), &"o".into());
    assert!(ask(&table, 1, 10, LONG));
    table.forget_others(key(1).stream(), &"p".into());
    assert!(!ask(&table, 1, 10, LONG));
    consistent(&table);
}

#[test]
fn what_is_read_is_not_removed_for_nothing() {
    let table = CacheTable::new(16_000, MANY);
    assert!(!ask(&table, 1, 5500, LONG));
    assert!(!ask(&table, 2, 5500, LONG));
    let TableLookup::Ready(read) = table.enter(&key(1), None) else {
        panic!("it is kept")
    };
    let TableLookup::Ready(other) = table.enter(&key(2), None) else {
        panic!("it is kept")
    };
    // Slow readers hold all of it: removing it would free nothing.
    assert!(table.reserve(&key(3), 5500).is_none());
    assert_eq!(table.bytes(), 11_000);
    drop(other);
    let reservation = table.reserve(&key(3), 5500).expect("the second goes");
    assert_eq!(table.bytes(), 11_000);
    drop((reservation, read));
    assert!(ask(&table, 1, 5500, LONG) && !ask(&table, 2, 5500, LONG));
}

#[test]
fn segments_leave_room_for_playlists() {
    let table = CacheTable::new(16_000, MANY);
    let head = parse(b"GET /live/a.m3u8 HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    let playlist = Key::playlist(key(1).stream(), &head, None, b"http");
    let segments = table.reserve(&key(1), 12_000).expect("room");
    assert!(table.reserve(&key(2), 1000).is_none());
    assert!(table.reserve(&playlist, 500).is_some());
    drop(segments);
    assert!(!table.fits(&key(1), 14_500) && table.fits(&playlist, 14_500));
}

#[test]
fn only_so_many_wait_for_one_answer() {
    let table = CacheTable::new(16_000, 2);
    assert!(matches!(table.enter(&key(1), None), TableLookup::First(_)));
    assert!(matches!(table.enter(&key(1), None), TableLookup::Joined(_)));
    assert!(matches!(table.enter(&key(1), None), TableLookup::Full));
    assert!(matches!(table.enter(&key(2), None), TableLookup::First(_)));
}
