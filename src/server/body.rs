//! The body of a response under way: framed, counted, sent at once, and visibly broken off where it is not whole.

use crate::listener::Ending;
use crate::runtime::cancel::CancelToken;
use crate::server::exchange::Exchange;
use crate::server::record::AccessRecord;
use crate::server::response::{Framing, ResponseHead};
use smallvec::SmallVec;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::ops::Range;
use std::sync::Arc;

impl Exchange {
    /// Sends the head, at once; the body follows through what is returned.
    ///
    /// # Errors
    /// What the client's socket says; the exchange is over then.
    pub fn start(self, head: &ResponseHead) -> io::Result<ResponseBody> {
        self.start_with(head, &[])
    }

    /// The same with the first parts of the body, which go out together with the head where the body
    /// has a length. They may be no longer than it.
    ///
    /// # Errors
    /// As [`Exchange::start`].
    pub fn start_with(mut self, head: &ResponseHead, body: &[&[u8]]) -> io::Result<ResponseBody> {
        self.answered = true;
        let (bytes, framing) = self.render(head);
        self.record.respond(head.status);
        let together = if framing == Framing::Length {
            body
        } else {
            &[]
        };
        let mut parts: SmallVec<[IoSlice<'_>; 4]> = SmallVec::new();
        parts.push(IoSlice::new(&bytes));
        parts.extend(together.iter().map(|part| IoSlice::new(part)));
        let mut taken = 0;
        let sent = self
            .client
            .send_counting(&mut parts, self.context.stall, &mut taken);
        self.record.bytes = taken.saturating_sub(bytes.len() as u64);
        if let Err(error) = sent {
            self.record.detail = Some(format!("sending to the client: {error}"));
            self.end(Ending::Broken { reset: false });
            return Err(error);
        }
        let left = head.length.unwrap_or(0).saturating_sub(self.record.bytes);
        let mut out = ResponseBody {
            exchange: self,
            framing,
            left,
            closing: 0,
            ended: false,
        };
        if framing != Framing::Length {
            out.write_parts(body)?;
        }
        Ok(out)
    }
}

/// The body of a response under way. Each write goes to the client at once; nothing is kept back.
///
/// Dropped before [`ResponseBody::finish`], the response is visibly broken off: no last chunk, and the
/// connection ends, by a reset where its end would pass for the body's.
pub struct ResponseBody {
    exchange: Exchange,
    framing: Framing,
    /// With a length: bytes still owed.
    left: u64,
    /// Bytes of the last chunk that have been sent.
    closing: usize,
    ended: bool,
}

/// The chunk that ends a body (RFC 9112 section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// For callers who frame the body themselves, once for many responses.
impl ResponseBody {
    /// Whether the body goes out in chunks, which the caller renders; else its bytes go out as they are.
    pub fn is_chunked(&self) -> bool {
        self.framing == Framing::Chunked
    }

    /// Sends what the socket takes now of framed parts, and never waits. Returns how many bytes that was.
    ///
    /// # Errors
    /// What the client's socket says.
    pub fn send_framed_now(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.exchange.client.send_now(parts)
    }

    /// Sends all of the framed parts, waiting for the client. Adds to `taken` the bytes that the socket took,
    /// also where it fails.
    ///
    /// # Errors
    /// `TimedOut` when the client has taken no byte for the stall timeout; otherwise what the socket says.
    pub fn send_framed(&self, parts: &mut [IoSlice<'_>], taken: &mut u64) -> io::Result<()> {
        let (client, stall) = (&self.exchange.client, self.exchange.context.stall);
        client.send_counting(parts, stall, taken)
    }

    /// Adds bytes of body, without framing, to the record.
    pub fn count(&mut self, bytes: u64) {
        self.exchange.record.bytes += bytes;
    }

    /// The body is whole: ends the response where that needs no waiting.
    ///
    /// # Errors
    /// The response itself where the socket is full: [`ResponseBody::finish`] waits.
    pub fn finish_now(mut self) -> Result<(), Box<Self>> {
        if self.framing == Framing::Chunked {
            let last = IoSlice::new(&LAST_CHUNK[self.closing..]);
            let sent = self.exchange.client.send_now(&[last]);
            // An error is the client's leaving at the very end; the record has its bytes.
            self.closing += sent.unwrap_or(LAST_CHUNK.len() - self.closing);
            if self.closing < LAST_CHUNK.len() {
                return Err(Box::new(self));
            }
            self.framing = Framing::Length; // nothing is owed any more
        }
        let _ = self.finish();
        Ok(())
    }
}

impl ResponseBody {
    /// Whether the client is to get a body at all.
    pub fn wants_body(&self) -> bool {
        self.framing != Framing::Nothing
    }

    /// The record of this request.
    pub fn record(&mut self) -> &mut AccessRecord {
        &mut self.exchange.record
    }

    /// What ends when the client leaves.
    pub fn cancel(&self) -> &Arc<CancelToken> {
        &self.exchange.client.cancel
    }

    /// Writes several parts of the body, with a length in one call where the socket takes them. The
    /// record has what was taken of them, also where it fails.
    ///
    /// # Errors
    /// As [`Write::write`].
    pub fn write_parts(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        if self.framing != Framing::Length {
            return parts.iter().try_for_each(|part| self.write_all(part));
        }
        let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if bytes > self.left {
            return Err(io::Error::other("more bytes than were announced"));
        }
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let (client, stall) = (&self.exchange.client, self.exchange.context.stall);
        let mut taken = 0;
        let sent = client.send_counting(&mut slices, stall, &mut taken);
        self.exchange.record.bytes += taken;
        self.left -= taken;
        sent
    }

    /// Sends a part of a file as the body, or as the next part of it; the record has what was taken, also where it
    /// fails.
    ///
    /// # Errors
    /// What the client's socket or the file says; `UnexpectedEof` where the file has become shorter.
    pub fn send_file(&mut self, file: &File, part: Range<u64>) -> io::Result<()> {
        if self.framing != Framing::Length || part.end - part.start > self.left {
            return Err(io::Error::other(
                "a file needs a length, and no more bytes than that",
            ));
        }
        let mut at = part.start;
        let (client, stall) = (&self.exchange.client, self.exchange.context.stall);
        let sent = client.send_file(file, &mut at, part.end, stall);
        let taken = at - part.start;
        self.exchange.record.bytes += taken;
        self.left -= taken;
        sent
    }

    /// The body is whole. With fewer bytes than were announced it is not, and is broken off.
    ///
    /// # Errors
    /// What the client's socket says.
    pub fn finish(mut self) -> io::Result<()> {
        let ending = match self.framing {
            Framing::Length if self.left > 0 => {
                self.add_detail(&format!("{} bytes short", self.left));
                return Ok(()); // dropping it breaks it off
            }
            Framing::Chunked => {
                self.send(&mut [IoSlice::new(&LAST_CHUNK[self.closing..])])?;
                self.exchange.whole()
            }
            Framing::Nothing | Framing::Length => self.exchange.whole(),
            Framing::UntilClose => Ending::Close,
        };
        self.ended = true;
        self.exchange.end(ending);
        Ok(())
    }

    /// Breaks the response off, and says in the log why.
    pub fn break_off(mut self, why: &str) {
        self.add_detail(why);
    }

    fn add_detail(&mut self, why: &str) {
        self.exchange
            .record
            .detail
            .get_or_insert_with(|| why.to_owned());
    }

    fn send(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.exchange
            .client
            .send(parts, self.exchange.context.stall)
    }
}

impl Write for ResponseBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0); // an empty chunk would be the last one
        }
        match self.framing {
            Framing::Nothing => return Ok(bytes.len()),
            Framing::Length if bytes.len() as u64 > self.left => {
                return Err(io::Error::other("more bytes than were announced"));
            }
            Framing::Length => {
                self.send(&mut [IoSlice::new(bytes)])?;
                self.left -= bytes.len() as u64;
            }
            Framing::UntilClose => self.send(&mut [IoSlice::new(bytes)])?,
            Framing::Chunked => {
                let mut size = [0; 18];
                let size = chunk_size(bytes.len(), &mut size);
                let mut parts = [
                    IoSlice::new(size),
                    IoSlice::new(bytes),
                    IoSlice::new(b"\r\n"),
                ];
                self.send(&mut parts)?;
            }
        }
        self.exchange.record.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if !self.ended {
            let reset = self.framing == Framing::UntilClose;
            self.exchange.end(Ending::Broken { reset });
        }
    }
}

/// A chunk's size line (RFC 9112 section 7.1), without allocating.
fn chunk_size(size: usize, line: &mut [u8; 18]) -> &[u8] {
    let mut at = 16;
    line[16..].copy_from_slice(b"\r\n");
    let mut rest = size;
    loop {
        at -= 1;
        line[at] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
        if rest == 0 {
            return &line[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::chunk_size;

    #[test]
    fn chunk_sizes() {
        for size in [1, 15, 16, 255, 65536, usize::MAX] {
            let line = format!("{size:x}\r\n");
            assert_eq!(chunk_size(size, &mut [0; 18]), line.as_bytes());
        }
    }
}
