//! The filler's worker: brings a body in from its origin, at the origin's pace, for whoever reads it.

use crate::cache::body::BLOCK;
use crate::cache::entry::CacheEntry;
use crate::cache::head::{EntryHead, Retention, SharedHead};
use crate::cache::key::Key;
use crate::cache::memory::MemoryReservation;
use crate::cache::table::CacheTable;
use crate::runtime::cancel::CancelToken;
use crate::upstream::OriginBody;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

/// One body on its way in: a worker's job.
pub struct Filler {
    pub key: Key,
    pub table: Arc<CacheTable>,
    pub entry: Arc<CacheEntry>,
    /// The attempt that has brought the answer.
    pub attempt: Arc<CancelToken>,
    pub shared: SharedHead,
    pub body: OriginBody,
    pub reservation: MemoryReservation,
}

impl Filler {
    /// Brings the body in. Blocks until the body is over, or its last reader has left.
    pub fn run(self) {
        let Self {
            key,
            table,
            entry,
            attempt,
            shared,
            mut body,
            reservation,
        } = self;
        let end = End {
            key: &key,
            table: &table,
            entry: &entry,
        };
        let length = usize::try_from(shared.length).unwrap_or(usize::MAX);
        let keep = shared.keep;
        entry.occupy(reservation);
        // Before the body: a short one may be over, and the attempts forgotten, before anybody else gets to it.
        entry.end_other_attempts(&attempt);
        entry.publish(EntryHead::Shared(Arc::new(shared)));
        let copied = copy(&mut body, length, &entry);
        drop(body); // its connection may serve the next request
        match copied {
            Ok(()) => {
                entry.end(Ok(()));
                let until = match keep {
                    Retention::Until(until) => until,
                    Retention::AfterTheEnd(time) => Instant::now() + time,
                };
                table.keep(&key, &entry, until);
            }
            Err(error) => end.broken(&error.to_string()),
        }
    }
}

fn copy(body: &mut OriginBody, length: usize, entry: &CacheEntry) -> io::Result<()> {
    let mut block = vec![0; BLOCK.min(length)];
    let (mut filled, mut got) = (0, 0);
    loop {
        let read = body.read(&mut block[filled..])?;
        if read == 0 {
            break;
        }
        entry.append(&block[filled..filled + read]);
        filled += read;
        got += read;
        if filled == block.len() {
            entry.settle(&block);
            filled = 0;
        }
    }
    if filled > 0 {
        entry.settle(&block[..filled]);
    }
    if got == length {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{got} bytes came instead of {length}"
    )))
}

/// Ends the entry, also where the worker panics.
struct End<'a> {
    key: &'a Key,
    table: &'a CacheTable,
    entry: &'a Arc<CacheEntry>,
}

impl End<'_> {
    fn broken(&self, why: &str) {
        // First out of the table: nobody is to join what is broken.
        self.table.remove(self.key, self.entry);
        self.entry.end(Err(why.into()));
    }
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if !self.entry.is_over() {
            self.broken("the fetch ended early");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::table::TableLookup;
    use crate::http::head::parse;
    use crate::stream::url::StreamUrl;
    use std::time::Duration;

    #[test]
    fn a_short_body_ends_the_attempts_that_hang() {
        let stream = StreamUrl::parse("a.example/live/a").unwrap();
        let head = parse(b"GET /live/a-1.ts HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
        let key = Key::segment(&stream, &head);
        let table = Arc::new(CacheTable::new(100_000, 10));
        let TableLookup::First(entry) = table.enter(&key, None) else {
            panic!("nobody has asked before");
        };
        let (hung, attempt) = (entry.begin_attempt(), entry.begin_attempt());
        assert!(entry.claim());
        let filler = Filler {
            reservation: table.reserve(&key, 5).unwrap(),
            table: table.clone(),
            entry: entry.clone(),
            attempt: attempt.clone(),
            shared: SharedHead {
                status: 200,
                headers: Arc::default(),
                length: 5,
                origin: None,
                address: String::new(),
                pin: None,
                came: Instant::now(),
                age: Duration::ZERO,
                keep: Retention::AfterTheEnd(Duration::ZERO),
            },
            body: OriginBody::whole(b"short"),
            key,
        };
        // All of it, before anybody else gets to the entry.
        filler.run();
        assert!(entry.is_over());
        assert!(hung.is_cancelled() && !attempt.is_cancelled());
    }
}
