//! A connection's reading of requests: heads, and the bodies of those that have one.

use super::{Connection, FIRST_READ, HEAD_TIME, NoHead};
use crate::http::chunked::ChunkedBody;
use crate::http::head::{self, Rejection, RequestHead};
use crate::listener::client::{Phase, ReceivedRequest};
use crate::listener::transport::Transport;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection that is idle for less than this has its whole idle time before it.
const JUST_NOW: Duration = Duration::from_millis(10);

impl Connection<'_> {
    #[inline(never)]
    pub(super) fn next_request(&mut self) -> Result<ReceivedRequest, NoHead> {
        let head = self.next_head()?;
        let since = Instant::now();
        let max_chunked = match head.chunked {
            true => self.queue.max_chunked(&head),
            false => None,
        };
        if head.chunked && max_chunked.is_none() {
            return Err(NoHead::RefusedBody(head::LENGTH_REQUIRED, head));
        }
        if (head.body > 0 || head.chunked)
            && let Err(rejection) = self.queue.admit_body(&head)
        {
            return Err(NoHead::RefusedBody(rejection, head));
        }
        let body = match max_chunked {
            Some(max) => self.chunked_body(&head, max)?,
            None => self.body(&head)?,
        };
        let id = self.ids.next();
        Ok(ReceivedRequest {
            is_long: self.queue.is_long(&head),
            head,
            body,
            id,
            since,
        })
    }

    fn next_head(&mut self) -> Result<Arc<RequestHead>, NoHead> {
        self.await_first_byte()?;
        if !self.client.begin_reading() {
            return Err(NoHead::Gone);
        }
        let end = Instant::now() + HEAD_TIME.min(self.idle_timeout);
        let mut searched = 0;
        loop {
            let empty = head::leading_empty_lines(&self.unread);
            if empty > 0 && searched == 0 {
                self.unread.drain(..empty);
            }
            if let Some(length) = head::end_of_head(&self.unread, searched) {
                let head = self.last.parse(&self.unread[..length]);
                let head = head.map_err(NoHead::Refused)?;
                self.unread.drain(..length);
                return Ok(head);
            }
            searched = self.unread.len();
            if let Some(rejection) = head::over_limit(&self.unread) {
                return Err(NoHead::Refused(rejection));
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.read_more(left, head::MAX_HEAD + 1) {
                // It left without a word, makes room for others, or this server ends.
                Ok(0)
                    if self.unread.is_empty()
                        || !self.client.is_reading()
                        || self.client.is_ending() =>
                {
                    return Err(NoHead::Gone);
                }
                Ok(0) => {
                    let message = "The request head is not whole.";
                    return Err(NoHead::Refused(Rejection {
                        status: 400,
                        message,
                    }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(NoHead::Refused(head::TOO_SLOW));
                }
                Err(_) => return Err(NoHead::Gone),
            }
        }
    }

    /// Waits for a request to begin, for the idle timeout since the last response at most.
    fn await_first_byte(&mut self) -> Result<(), NoHead> {
        while self.unread.is_empty() {
            let Phase::Idle(since) = self.client.phase() else {
                return Err(NoHead::Gone);
            };
            let idle = since.elapsed();
            let left = self.idle_timeout.saturating_sub(idle);
            let got = match idle < JUST_NOW {
                // A client that has got its response a moment ago sends its next request only later.
                true => self.read(head::MAX_HEAD + 1, |transport, room| {
                    transport.receive_later(room, left)
                }),
                false => self.read_more(left, head::MAX_HEAD + 1),
            };
            if matches!(got, Ok(0) | Err(_)) {
                return Err(NoHead::Gone);
            }
        }
        Ok(())
    }

    /// Reads what there is into `unread`, up to `most` bytes in all, waiting for `time`; 0 is the end.
    pub(super) fn read_more(&mut self, time: Duration, most: usize) -> io::Result<usize> {
        self.read(most, |transport, room| transport.receive(room, time))
    }

    fn read(
        &mut self,
        most: usize,
        receive: impl FnOnce(&Transport, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let held = self.unread.len();
        let room = (held * 2).max(FIRST_READ).min(most.max(held + 1));
        self.unread.resize(room, 0);
        let got = receive(self.client.transport(), &mut self.unread[held..]);
        self.unread
            .truncate(held + got.as_ref().map_or(0, |got| *got));
        got
    }

    /// Reads the body that the head announced; the handler behind the queue has agreed to its size.
    #[inline(never)]
    fn body(&mut self, head: &RequestHead) -> Result<Vec<u8>, NoHead> {
        let length = usize::try_from(head.body).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(Vec::new());
        }
        self.ask_for_body(head)?;
        let end = Instant::now() + HEAD_TIME.min(self.idle_timeout);
        while self.unread.len() < length {
            self.read_body(end, length)?;
        }
        let rest = self.unread.split_off(length);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    /// Reads a body in chunks, of at most `max` bytes.
    #[inline(never)]
    fn chunked_body(&mut self, head: &RequestHead, max: usize) -> Result<Vec<u8>, NoHead> {
        self.ask_for_body(head)?;
        let end = Instant::now() + HEAD_TIME.min(self.idle_timeout);
        let mut body = ChunkedBody::new(max);
        loop {
            let used = body.take(&self.unread).map_err(NoHead::Refused)?;
            self.unread.drain(..used);
            body = match body.whole() {
                Ok(body) => return Ok(body),
                Err(body) => body,
            };
            self.read_body(end, FIRST_READ)?;
        }
    }

    /// Tells a client that waits for it (`Expect: 100-continue`) to send its body.
    fn ask_for_body(&mut self, head: &RequestHead) -> Result<(), NoHead> {
        if head.expects_continue && self.unread.is_empty() {
            // A client that reads no answers may have filled the socket.
            let mut go_on = [IoSlice::new(b"HTTP/1.1 100 Continue\r\n\r\n")];
            let sent = self.client.send(&mut go_on, HEAD_TIME);
            sent.map_err(|_| NoHead::Gone)?;
        }
        Ok(())
    }

    /// Reads more of a body, which must be whole at `end`; up to `most` bytes are held in all.
    fn read_body(&mut self, end: Instant, most: usize) -> Result<(), NoHead> {
        let left = end.saturating_duration_since(Instant::now());
        match self.read_more(left, most) {
            Ok(0) => Err(NoHead::Gone),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let message = "The request's body did not arrive in time.";
                Err(NoHead::Refused(Rejection {
                    status: 408,
                    message,
                }))
            }
            Err(_) => Err(NoHead::Gone),
        }
    }
}
