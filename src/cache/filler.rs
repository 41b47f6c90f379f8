//! The pump: brings a body in from its origin, at the origin's pace, for whoever reads it.

use crate::cache::entry::{BLOCK, Head, Keep, Shared, Transfer};
use crate::cache::key::Key;
use crate::cache::table::{Room, Store};
use crate::upstream::OriginBody;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

/// One body on its way in: a worker's job.
pub struct Pump {
    pub key: Key,
    pub store: Arc<Store>,
    pub transfer: Arc<Transfer>,
    pub shared: Shared,
    pub body: OriginBody,
    pub room: Room,
}

impl Pump {
    /// Brings it in.
    pub fn run(self) {
        let Self {
            key,
            store,
            transfer,
            shared,
            mut body,
            room,
        } = self;
        let end = End {
            key: &key,
            store: &store,
            transfer: &transfer,
        };
        let length = usize::try_from(shared.length).unwrap_or(usize::MAX);
        let keep = shared.keep;
        transfer.occupy(room);
        transfer.tell(Head::Shared(Arc::new(shared)));
        let copied = copy(&mut body, length, &transfer);
        drop(body); // its connection may serve the next one
        match copied {
            Ok(()) => {
                transfer.end(Ok(()));
                let until = match keep {
                    Keep::Until(until) => until,
                    Keep::AfterTheEnd(time) => Instant::now() + time,
                };
                store.keep(&key, &transfer, length, until);
            }
            Err(error) => end.broken(&error.to_string()),
        }
    }
}

fn copy(body: &mut OriginBody, length: usize, transfer: &Transfer) -> io::Result<()> {
    let mut block = vec![0; BLOCK.min(length)];
    let (mut filled, mut got) = (0, 0);
    loop {
        let read = body.read(&mut block[filled..])?;
        if read == 0 {
            break;
        }
        transfer.append(&block[filled..filled + read]);
        filled += read;
        got += read;
        if filled == block.len() {
            transfer.settle(&block);
            filled = 0;
        }
    }
    if filled > 0 {
        transfer.settle(&block[..filled]);
    }
    if got == length {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{got} bytes came instead of {length}"
    )))
}

/// Sees to it that a transfer ends, also where its worker panics.
struct End<'a> {
    key: &'a Key,
    store: &'a Store,
    transfer: &'a Arc<Transfer>,
}

impl End<'_> {
    fn broken(&self, why: &str) {
        // First out of the store: nobody is to join what is broken.
        self.store.remove(self.key, self.transfer);
        self.transfer.end(Err(why.into()));
    }
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if !self.transfer.is_over() {
            self.broken("the fetch ended early");
        }
    }
}
