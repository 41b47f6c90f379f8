//! Sending a shared answer to one player, whole or a part of it.

use crate::cache::body::Batch;
use crate::cache::head::{EntryHead, SharedHead};
use crate::cache::reader::{EntryReader, Next, Waited};
use crate::files::{FileRequest, Outcome};
use crate::player::context::PlayerContext;
use crate::player::hls::personal;
use crate::player::request::MediaRequest;
use crate::server::body::ResponseBody;
use crate::server::exchange::Exchange;
use crate::server::response::ResponseHead;
use crate::stream::stats::ByteCounter;
use crate::stream::url::StreamUrl;
use smallvec::SmallVec;
use std::time::SystemTime;

/// What the log has for the origin of an answer that was in memory.
const MEMORY: &str = "memory";

/// Parts of a body for one call.
type Parts<'a> = SmallVec<[&'a [u8]; 2]>;

/// A shared answer and who gets it.
pub struct SharedAnswer<'a> {
    pub reader: &'a EntryReader,
    pub head: &'a SharedHead,
    pub stream: &'a StreamUrl,
    /// Tells viewers apart, for the statistics.
    pub viewer: Option<u64>,
    /// Whether the player may have a part: of a segment, and not of a playlist, which changes all the time.
    pub takes_ranges: bool,
    /// Whether the answer was asked for by an earlier request: it has an age then.
    pub is_later: bool,
}

/// Sends the filler the answer that comes in for all.
pub fn fill(context: &PlayerContext, exchange: Exchange, reader: &EntryReader, stream: &StreamUrl) {
    match reader.head() {
        Waited::Head(EntryHead::Shared(head)) => {
            let answer = SharedAnswer {
                reader,
                head: &head,
                stream,
                viewer: None,
                takes_ranges: true,
                is_later: false,
            };
            answer.send(context, exchange);
        }
        _ => exchange.abandon("the client left while its segment was asked for"),
    }
}

/// Sends a shared playlist to a viewer that has a session of its own.
pub fn personally(
    context: &PlayerContext,
    mut exchange: Exchange,
    request: &MediaRequest,
    reader: &EntryReader,
    shared: &SharedHead,
) {
    note(&mut exchange, reader, shared);
    let mut body = Vec::with_capacity(usize::try_from(shared.length).unwrap_or(0));
    let mut batch = Batch::new();
    loop {
        match reader.next(body.len() as u64, &mut batch) {
            Next::Bytes(behind) => body.extend_from_slice(&batch.concat()[behind..]),
            Next::End => break,
            Next::Broken(why) => {
                exchange.record.detail = Some(why.to_string());
                return exchange.problem(502, "The media server's playlist broke off. Try again.");
            }
            Next::Left => return exchange.abandon("the client left while its playlist came"),
        }
    }
    if let (Some(stream), Some(origin)) = (&request.stream, &shared.origin) {
        let viewer = Some(request.viewer);
        let meter = context.stats.touch(stream, origin, &shared.address, viewer);
        meter.add(body.len() as u64);
    }
    let head = ResponseHead {
        status: shared.status,
        headers: (*shared.headers).clone(),
        ..ResponseHead::default()
    };
    personal::answer(context, exchange, request, head, &body);
}

/// What the log says of an answer that was asked for by another request.
fn note(exchange: &mut Exchange, reader: &EntryReader, head: &SharedHead) {
    let record = &mut exchange.record;
    if reader.came_whole() {
        record.origin = Some(MEMORY.into());
        return;
    }
    if !head.address.is_empty() {
        record.origin = Some(head.address.clone().into());
    }
    record.detail = Some("shared".to_owned());
}

impl SharedAnswer<'_> {
    /// Sends the answer, at the client's pace. Blocks until the client has it, or the body has broken off.
    pub fn send(&self, context: &PlayerContext, mut exchange: Exchange) {
        if self.is_later {
            note(&mut exchange, self.reader, self.head);
        }
        let length = self.head.length;
        let outcome = self.part(&exchange);
        let head = self.response_head(&outcome);
        let part = match outcome {
            Outcome::Part(part) => part,
            Outcome::Unsatisfiable => return unsatisfiable(exchange, length),
            _ => 0..length,
        };
        let meter = self.head.origin.as_ref().map(|origin| {
            let address = &self.head.address;
            context.touch(self.stream, origin, address, self.viewer)
        });
        let mut blocks = Blocks {
            reader: self.reader,
            at: part.start,
            end: part.end,
            batch: Batch::new(),
        };
        let ready = match exchange.is_head() {
            true => Parts::new(),
            false => blocks.ready(),
        };
        let Ok(mut out) = exchange.start_with(&head, &ready) else {
            return; // the record says why
        };
        if !out.wants_body() {
            let _ = out.finish();
            return;
        }
        drop(ready);
        let sent = out.record().bytes;
        count(&meter, sent);
        blocks.at += sent;
        blocks.send_rest(out, &meter);
    }

    /// The part of the body that the player wants.
    fn part(&self, exchange: &Exchange) -> Outcome {
        let range = exchange.head.headers.text("range");
        if range.is_none() || self.head.status != 200 || !self.takes_ranges {
            return Outcome::Whole;
        }
        let request = FileRequest {
            method_is_head: exchange.is_head(),
            range,
            ..FileRequest::default()
        };
        request.evaluate("", SystemTime::UNIX_EPOCH, self.head.length)
    }

    fn response_head(&self, outcome: &Outcome) -> ResponseHead {
        let shared = self.head;
        let age = match self.is_later {
            true => Some(shared.age + shared.came.elapsed()),
            false => Some(shared.age).filter(|age| !age.is_zero()),
        };
        let head = ResponseHead {
            status: shared.status,
            length: Some(shared.length),
            shared: Some(shared.headers.clone()),
            age,
            ..ResponseHead::default()
        };
        let Outcome::Part(part) = outcome else {
            return head;
        };
        let range = format!("bytes {}-{}/{}", part.start, part.end - 1, shared.length);
        ResponseHead {
            status: 206,
            length: Some(part.end - part.start),
            ..head.with("Content-Range", range)
        }
    }
}

fn unsatisfiable(exchange: Exchange, length: u64) {
    let head = ResponseHead::new(416).with("Content-Range", format!("bytes */{length}"));
    exchange.problem_with(head, "The file is shorter than that.");
}

/// The bytes of an entry from one place to another, block by block.
struct Blocks<'a> {
    reader: &'a EntryReader,
    at: u64,
    end: u64,
    batch: Batch,
}

impl Blocks<'_> {
    /// What there is now, without waiting.
    fn ready(&mut self) -> Parts<'_> {
        let behind = self.reader.ready(self.at, &mut self.batch);
        self.parts(behind)
    }

    /// The blocks as parts, without the bytes before the place in the first one, and those after the end in the last.
    fn parts(&self, behind: usize) -> Parts<'_> {
        let mut parts = Parts::with_capacity(self.batch.len());
        let (mut behind, mut left) = (behind, self.end - self.at);
        for block in &self.batch {
            let block = &block[std::mem::take(&mut behind)..];
            let fits = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            left -= fits as u64;
            parts.push(&block[..fits]);
        }
        parts
    }

    /// Sends what is left, waiting for the body to come and for the client to take it.
    fn send_rest(&mut self, mut out: ResponseBody, meter: &Option<ByteCounter>) {
        while self.at < self.end {
            let behind = match self.reader.next(self.at, &mut self.batch) {
                Next::Bytes(behind) => behind,
                Next::End => break,
                Next::Broken(why) => return out.break_off(&format!("the origin broke off: {why}")),
                Next::Left => return out.break_off("the client left"),
            };
            let before = out.record().bytes;
            let sent = out.write_parts(&self.parts(behind));
            let sent_bytes = out.record().bytes - before;
            count(meter, sent_bytes);
            self.at += sent_bytes;
            if let Err(error) = sent {
                return out.break_off(&format!("the client went: {error}"));
            }
        }
        // An error is the client's leaving at the very end; the record has its bytes.
        let _ = out.finish();
    }
}

fn count(meter: &Option<ByteCounter>, bytes: u64) {
    if let Some(meter) = meter {
        meter.add(bytes);
    }
}
