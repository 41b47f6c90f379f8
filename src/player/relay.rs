//! The relay: an origin's body to the player, each read at once, its end as the origin meant it.

use crate::server::body::ResponseBody;
use crate::server::exchange::Exchange;
use crate::server::response::ResponseHead;
use crate::stream::stats::ByteCounter;
use crate::upstream::forwarding::to_player;
use crate::upstream::{OriginBody, OriginResponse};
use std::io::{self, BufReader, Read, Write};

/// Buffer for a segment, in bytes: fewer calls for a megabyte.
const SEGMENT_BUFFER: usize = 64 * 1024;

/// How the log calls an origin's failing in the middle of a body.
const BROKE_OFF: &str = "the origin broke off";

/// What is relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// Small and often, for as long as it likes: `io::copy`'s own 8 KiB on the stack hold a frame, and
    /// a thousand viewers need no buffers besides.
    Live,
    /// Large and once.
    Segment,
}

/// How a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayEnd {
    /// The origin sent its last byte.
    Complete,
    /// The origin broke off: SRS does so when a stream's publisher stops.
    Broken,
    /// The origin sent nothing for the stall timeout.
    Silent,
    /// The client left, or wants no body.
    Client,
}

/// Sends the origin's status, headers and body to the player. `meter` counts the bytes.
///
/// A body that the origin did not finish is broken off towards the player, too.
pub fn relay(
    exchange: Exchange,
    response: OriginResponse,
    piece: Piece,
    meter: &ByteCounter,
) -> RelayEnd {
    let head = ResponseHead {
        status: response.status,
        headers: to_player(&response.headers),
        length: response.length,
        ..ResponseHead::default()
    };
    let Ok(mut out) = exchange.start(&head) else {
        return RelayEnd::Client;
    };
    if !out.wants_body() {
        // What an origin sends after such a head is not read.
        let _ = out.finish();
        return RelayEnd::Client;
    }
    let mut source = Source {
        body: response.body,
        failed: None,
    };
    let mut sink = Metered {
        out: &mut out,
        meter,
    };
    // Either way what one read gives is written, and sent, before the next.
    let copied = match piece {
        Piece::Live => io::copy(&mut &mut source, &mut sink),
        Piece::Segment => {
            let mut reader = BufReader::with_capacity(SEGMENT_BUFFER, &mut source);
            io::copy(&mut reader, &mut sink)
        }
    };
    match (copied, source.failed) {
        (Ok(_), _) => {
            // An error is the client's leaving at the very end; the record has its bytes.
            let _ = out.finish();
            RelayEnd::Complete
        }
        (Err(_), Some(_)) if out.cancel().is_cancelled() => {
            out.break_off("the client left");
            RelayEnd::Client
        }
        (Err(_), Some(why)) => {
            let text = why.to_string();
            // The connection says it by itself where the origin has reset it.
            match text.starts_with(BROKE_OFF) {
                true => out.break_off(&text),
                false => out.break_off(&format!("{BROKE_OFF}: {text}")),
            }
            match why.kind() {
                io::ErrorKind::TimedOut => RelayEnd::Silent,
                _ => RelayEnd::Broken,
            }
        }
        (Err(error), None) => {
            out.break_off(&format!("the client went: {error}"));
            RelayEnd::Client
        }
    }
}

/// The origin's body; remembers whether it was the side that failed.
struct Source {
    body: OriginBody,
    failed: Option<io::Error>,
}

impl Read for &mut Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer).inspect_err(|error| {
            let copy = io::Error::new(error.kind(), error.to_string());
            self.failed = Some(copy);
        })
    }
}

struct Metered<'a> {
    out: &'a mut ResponseBody,
    meter: &'a ByteCounter,
}

impl Write for Metered<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.out.write(bytes)?;
        self.meter.add(sent as u64);
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
