//! The filler's part in a shared answer: to ask an origin, and to tell the others what came of it.

use crate::cache::entry::CacheEntry;
use crate::cache::filler::Filler;
use crate::cache::head::{EntryHead, FailedFetch, SharedHead};
use crate::cache::key::Key;
use crate::cache::reader::{EntryReader, Waited};
use crate::cache::table::CacheTable;
use crate::cache::unshareable::Unshareable;
use crate::runtime::cancel::CancelToken;
use crate::runtime::pool::Pool;
use crate::server::failure::Failure;
use crate::stream::origin_id::OriginId;
use crate::stream::url::StreamUrl;
use crate::upstream::OriginBody;
use std::sync::Arc;
use std::time::Instant;

/// What a guard needs of the cache.
#[derive(Clone)]
pub(super) struct GuardContext {
    pub table: Arc<CacheTable>,
    pub fillers: Arc<Pool<Filler>>,
    pub unshareable: Arc<Unshareable>,
}

/// A request that fills an entry. Each of its verbs ends it; dropped without one, the others go on their own.
///
/// Where an origin hangs, another request becomes a second filler of the same entry. The first answer is for all; of a
/// later one each verb makes the filler's own.
pub struct FillGuard {
    context: GuardContext,
    key: Key,
    entry: Arc<CacheEntry>,
    attempt: Arc<CancelToken>,
    /// The origin that the stream was pinned to at first.
    pin: Option<OriginId>,
    /// `None` once a verb has taken it.
    reader: Option<EntryReader>,
}

impl FillGuard {
    pub(super) fn new(
        context: GuardContext,
        key: Key,
        reader: EntryReader,
        attempt: Arc<CancelToken>,
        pin: Option<OriginId>,
    ) -> Self {
        Self {
            context,
            key,
            entry: reader.entry().clone(),
            attempt,
            pin,
            reader: Some(reader),
        }
    }

    /// The stream that the answer belongs to.
    pub fn stream(&self) -> &StreamUrl {
        self.key.stream()
    }

    /// The cancel token for asking: cancelled when the last who waits has left, and when another filler was faster.
    pub fn cancel(&self) -> Arc<CancelToken> {
        self.attempt.clone()
    }

    /// Tells that the stream's playlist came from that origin: where the stream was pinned to another, what that one
    /// gave is forgotten.
    pub fn came_from(&self, origin: &OriginId) {
        if self.pin.as_ref().is_some_and(|pin| pin != origin) {
            self.context.table.forget_others(self.key.stream(), origin);
        }
    }

    /// Has the body brought in for all, by a thread of its own. Returns the filler's reader.
    ///
    /// # Errors
    /// The body, where it cannot be shared, and the reader to hold while the body is relayed.
    pub fn fill(
        mut self,
        shared: SharedHead,
        body: OriginBody,
    ) -> Result<EntryReader, Box<(OriginBody, Option<EntryReader>)>> {
        if !self.context.table.fits(&self.key, shared.length) {
            self.remember();
        }
        let Some(reservation) = self.context.table.reserve(&self.key, shared.length) else {
            return Err(Box::new((body, self.alone())));
        };
        if !self.entry.claim() {
            return match self.first_answer() {
                Some(reader) => Ok(reader),
                None => Err(Box::new((body, self.alone()))),
            };
        }
        let fill = Filler {
            key: self.key.clone(),
            table: self.context.table.clone(),
            entry: self.entry.clone(),
            attempt: self.attempt.clone(),
            shared,
            body,
            reservation,
        };
        let ran = self.context.fillers.run(fill);
        let reader = self.reader.take();
        match (ran, reader) {
            (Ok(()), Some(reader)) => Ok(reader),
            (Ok(()), None) => Ok(EntryReader::complete(self.entry.clone())), // never: verbs take the guard itself
            (Err(fill), reader) => {
                self.give_up();
                if let Some(reader) = &reader {
                    reader.keep_alone(&self.attempt);
                }
                Err(Box::new((fill.body, reader)))
            }
        }
    }

    /// Gives a body that is there as a whole to all who wait, and to those who come until `until`.
    pub fn whole(self, shared: SharedHead, body: &[u8], until: Instant) {
        let Some(reservation) = self.context.table.reserve(&self.key, body.len() as u64) else {
            return; // dropped: the others go on their own
        };
        if !self.entry.claim() {
            return;
        }
        self.entry.fill(body);
        self.entry.occupy(reservation);
        // First to the table: once the others go on, nobody may find it unkept.
        self.context.table.keep(&self.key, &self.entry, until);
        self.entry.end_other_attempts(&self.attempt);
        self.entry.publish(EntryHead::Shared(Arc::new(shared)));
        self.entry.end(Ok(()));
    }

    /// Tells all who wait, and those who come until `until`, that no origin answered.
    pub fn fail(self, failure: Failure, pin: Option<OriginId>, until: Option<Instant>) {
        if !self.entry.claim() {
            return;
        }
        let table = &self.context.table;
        match until.zip(table.reserve(&self.key, 0)) {
            Some((until, reservation)) => {
                self.entry.occupy(reservation);
                table.keep(&self.key, &self.entry, until);
            }
            None => table.remove(&self.key, &self.entry),
        }
        let failed = FailedFetch { failure, pin };
        self.entry.publish(EntryHead::Failed(Arc::new(failed)));
    }

    /// Makes the answer the filler's alone. Returns the reader to hold while the answer is relayed: by it the client's
    /// leaving ends the origin's answer.
    pub fn alone(mut self) -> Option<EntryReader> {
        let reader = self.reader.take()?;
        reader.keep_alone(&self.attempt);
        if self.entry.claim() {
            self.give_up();
        }
        Some(reader)
    }

    /// As [`FillGuard::alone`], for an answer of a kind that is nobody else's next time either: for a minute nobody
    /// waits for this name.
    pub fn never_shared(self) -> Option<EntryReader> {
        self.remember();
        self.alone()
    }

    /// The reader of another filler's answer, which was faster and is for all. Blocks for the moment in which that one
    /// is published.
    fn first_answer(&mut self) -> Option<EntryReader> {
        let is_shared =
            |reader: &mut EntryReader| matches!(reader.head(), Waited::Head(EntryHead::Shared(_)));
        let reader = self.reader.take_if(is_shared)?;
        self.entry.end_attempt(&self.attempt);
        Some(reader)
    }

    fn remember(&self) {
        self.context.unshareable.remember(&self.key, Instant::now());
    }

    fn give_up(&self) {
        self.context.table.remove(&self.key, &self.entry);
        self.entry.publish(EntryHead::Alone);
    }
}

impl Drop for FillGuard {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.entry.end_attempt(&self.attempt);
            if self.entry.claim() {
                self.give_up();
            }
            drop(reader);
        }
    }
}
