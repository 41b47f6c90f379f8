use super::*;
use crate::cache::body::BLOCK;
use crate::cache::entry::EntryMatch;
use crate::cache::head::{EntryHead, Retention, SharedHead};
use crate::stream::origin_id::OriginId;
use proptest::prelude::*;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

const MANY: usize = 1000;

/// The first reader of a new entry, whose client is on that token.
fn first(entry: &Arc<CacheEntry>, client: &Arc<CancelToken>) -> EntryReader {
    entry.add_reader();
    EntryReader::waiting(entry.clone(), client)
}

fn shared(length: usize) -> EntryHead {
    EntryHead::Shared(Arc::new(SharedHead {
        status: 200,
        headers: Arc::default(),
        length: length as u64,
        origin: None,
        address: String::new(),
        pin: None,
        came: Instant::now(),
        age: Duration::ZERO,
        keep: Retention::AfterTheEnd(Duration::ZERO),
    }))
}

/// Reads to the end, as a player's worker does; leaves after `most` bytes.
fn read(reader: &EntryReader, most: usize) -> (Vec<u8>, Next) {
    let (mut body, mut batch) = (Vec::new(), Batch::new());
    loop {
        match reader.next(body.len() as u64, &mut batch) {
            Next::Bytes(behind) => {
                let got = batch.concat();
                body.extend_from_slice(&got[behind..]);
            }
            end => return (body, end),
        }
        if body.len() >= most {
            return (body, Next::Left);
        }
    }
}

/// Brings a body in as the pump does, in pieces of those sizes.
fn bring(entry: &CacheEntry, body: &[u8], sizes: &[usize]) {
    let mut block = Vec::new();
    let mut rest = body;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(rest.len().min(*size).min(BLOCK - block.len()));
        entry.append(piece);
        block.extend_from_slice(piece);
        rest = after;
        if block.len() == BLOCK {
            entry.settle(&block);
            block.clear();
        }
    }
    if !block.is_empty() {
        entry.settle(&block);
    }
    entry.end(Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_reader_gets_every_byte(
        length in 0..5 * BLOCK,
        sizes in prop::collection::vec(1..2 * BLOCK, 1..20),
        quits in prop::collection::vec(0..3 * BLOCK, 0..3),
    ) {
        let body: Vec<u8> = (0..length).map(|at| (at * 7 / 5) as u8).collect();
        let entry = CacheEntry::new(None);
        let first = first(&entry, &CancelToken::new());
        let attempt = entry.begin_attempt();
        entry.publish(shared(length));
        let join = || {
            assert_eq!(entry.join(None, false, MANY), EntryMatch::Joined);
            EntryReader::waiting(entry.clone(), &CancelToken::new())
        };
        let readers: Vec<_> = quits.iter().chain(&[usize::MAX; 2]).map(|most| (join(), *most)).collect();
        thread::scope(|scope| {
            for (reader, most) in readers {
                let body = &body;
                scope.spawn(move || {
                    let (got, end) = read(&reader, most);
                    assert!(got == body[..got.len()]);
                    assert!(end == Next::Left || got.len() == body.len());
                });
            }
            bring(&entry, &body, &sizes);
        });
        prop_assert!(!attempt.is_cancelled(), "the first still reads");
        prop_assert!(read(&first, usize::MAX) == (body.clone(), Next::End));
        let late = EntryReader::complete(entry.clone());
        prop_assert!(read(&late, usize::MAX) == (body, Next::End));
        drop((first, late));
        prop_assert!(!attempt.is_cancelled(), "it was over");
    }
}

#[test]
fn the_last_to_leave_ends_it_and_nobody_joins_then() {
    let entry = CacheEntry::new(None);
    let clients = [CancelToken::new(), CancelToken::new()];
    let first = first(&entry, &clients[0]);
    let attempt = entry.begin_attempt();
    assert_eq!(entry.join(None, false, 2), EntryMatch::Joined);
    assert_eq!(entry.join(None, false, 2), EntryMatch::Full);
    let second = EntryReader::waiting(entry.clone(), &clients[1]);
    clients[0].cancel();
    assert!(matches!(first.head(), Waited::Left), "its client has left");
    assert!(!attempt.is_cancelled());
    drop(first); // counted once
    assert!(!attempt.is_cancelled());
    drop(second);
    assert!(attempt.is_cancelled());
    assert_eq!(entry.join(None, false, MANY), EntryMatch::Useless);
}

#[test]
fn a_break_is_told_after_the_bytes_before_it() {
    let entry = CacheEntry::new(None);
    let reader = first(&entry, &CancelToken::new());
    entry.publish(shared(10));
    entry.append(b"abc");
    entry.end(Err("why".into()));
    entry.end(Ok(()));
    let (got, end) = read(&reader, usize::MAX);
    assert_eq!(
        (got.as_slice(), end),
        (&b"abc"[..], Next::Broken("why".into()))
    );
    assert_eq!(entry.join(None, false, MANY), EntryMatch::Useless);
}

#[test]
fn who_may_join() {
    let (a, b): (OriginId, OriginId) = ("a".into(), "b".into());
    let rows = [
        (None, None, true),
        (None, Some(&a), true),
        (Some(&a), Some(&a), true),
        (Some(&a), Some(&b), false),
        (Some(&a), None, false),
    ];
    for (asked, now, joins) in rows {
        let entry = CacheEntry::new(asked.cloned());
        let joined = entry.join(now, false, MANY) == EntryMatch::Joined;
        assert_eq!(joined, joins, "{asked:?} {now:?}");
    }
    let entry = CacheEntry::new(None);
    entry.publish(EntryHead::Alone);
    assert_eq!(entry.join(None, false, MANY), EntryMatch::Useless);
}

/// A socket as of an origin that accepts and says nothing.
fn silent_origin() -> (TcpListener, Arc<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener, Arc::new(socket))
}

#[test]
fn one_of_those_who_wait_asks_once_more_where_the_origin_hangs() {
    let entry = CacheEntry::new(None);
    let filler = first(&entry, &CancelToken::new());
    let attempt = entry.begin_attempt();
    let (_listener, socket) = silent_origin();
    assert!(attempt.bind_socket(&socket));
    entry.add_reader();
    let reader = EntryReader::waiting(entry.clone(), &CancelToken::new());
    let begun = Instant::now();
    let Waited::Hung(again) = reader.head() else {
        panic!("the origin is silent")
    };
    assert!(begun.elapsed() >= PATIENCE / 2);
    assert!(entry.lock().begin_if_hung().is_err(), "one at a time");
    // The second has the answer: the first one's request ends, and its reader has that answer too.
    assert!(entry.claim());
    entry.end_other_attempts(&again);
    assert!(attempt.is_cancelled() && !again.is_cancelled());
    entry.publish(shared(0));
    assert!(matches!(filler.head(), Waited::Head(EntryHead::Shared(_))));
}

#[test]
fn an_attempt_for_one_client_ends_with_it_whoever_else_reads() {
    let entry = CacheEntry::new(None);
    let client = CancelToken::new();
    let filler = first(&entry, &client);
    let attempt = entry.begin_attempt();
    entry.add_reader();
    let other = EntryReader::waiting(entry.clone(), &CancelToken::new());
    filler.keep_alone(&attempt);
    assert!(!attempt.is_cancelled());
    client.cancel();
    assert!(attempt.is_cancelled());
    drop((filler, other));
}
