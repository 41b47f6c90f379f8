//! One viewer of live FLV: asks, reads, checks every tag, and notes what a person before the screen would have seen.

use std::io;
use std::net::SocketAddr;

use crate::chunks::ChunkDecoder;
use crate::clock;
use crate::flv::Frame;
use crate::flv_reader::FlvReader;
use crate::transport::Transport;

/// What a viewer has seen, of all the responses it had.
#[derive(Clone, Debug, Default)]
pub struct ViewerSeen {
    /// Microseconds from the first request to the first whole frame.
    pub first_frame_us: Option<u32>,
    /// Microseconds: the longest time without a frame, in the measured time.
    pub pause_us: u32,
    pub missing: u64,
    pub repeated: u64,
    /// Timestamps lower than the one before in the same response.
    pub back: u64,
    /// Responses that could not be read on as FLV.
    pub torn: u64,
    /// Responses, or encoders within a response, that began with something else than a key frame.
    pub keyless: u64,
    /// Connections and requests in vain, before the first frame.
    pub refused: u64,
    /// Responses that ended after the first frame.
    pub ended: u64,
    /// The encoder that the first frame came from.
    pub first_run: Option<u32>,
    /// When the first frame of another encoder than the first one came.
    pub switched: Option<u64>,
}

/// Nanoseconds: how long a frame of the measured time may be on its way and still count.
const GRACE: u64 = 1_000_000_000;

/// The measured time: from, and to, in nanoseconds of the clock.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub open: u64,
    pub close: u64,
}

impl Window {
    /// When viewers stop watching.
    pub fn end(&self) -> u64 {
        self.close + GRACE
    }

    pub fn has(&self, moment: u64) -> bool {
        (self.open..self.close).contains(&moment)
    }

    pub fn seconds(&self) -> f64 {
        self.close.saturating_sub(self.open) as f64 / 1e9
    }
}

enum State {
    Connecting,
    Head(Vec<u8>),
    Body(Box<(ChunkDecoder, FlvReader)>),
}

pub struct Viewer {
    pub transport: Transport,
    state: State,
    watching: Watching,
}

/// What a viewer remembers from one response to the next.
pub struct Watching {
    pub seen: ViewerSeen,
    /// When the first request was made.
    asked: Option<u64>,
    /// The last frame of this response.
    last: Option<Frame>,
    /// When any frame came last.
    last_at: u64,
}

impl Watching {
    pub fn new() -> Watching {
        Watching {
            seen: ViewerSeen::default(),
            asked: None,
            last: None,
            last_at: 0,
        }
    }

    /// Notes that the stream is asked for.
    pub fn ask(&mut self) {
        self.asked.get_or_insert_with(clock::now);
    }

    /// Notes a frame. Returns its age in microseconds if it was sent in the measured time.
    pub fn note(&mut self, frame: &Frame, window: &Window) -> Option<u32> {
        let now = clock::now();
        let seen = &mut self.seen;
        if seen.first_frame_us.is_none() {
            let asked = self.asked.unwrap_or(now);
            seen.first_frame_us = Some(clock::micros_between(asked, now));
        }
        let first_run = *seen.first_run.get_or_insert(frame.run);
        if frame.run != first_run {
            seen.switched.get_or_insert(now);
        }
        match &self.last {
            Some(last) => {
                seen.back += u64::from(frame.timestamp < last.timestamp);
                if frame.run != last.run {
                    seen.keyless += u64::from(!frame.key);
                } else if frame.number <= last.number {
                    seen.repeated += 1;
                } else {
                    seen.missing += frame.number - last.number - 1;
                }
            }
            None => seen.keyless += u64::from(!frame.key),
        }
        self.last = Some(*frame);
        if window.has(now) {
            let since = self.last_at.max(window.open);
            seen.pause_us = seen.pause_us.max(clock::micros_between(since, now));
        }
        self.last_at = now;
        // By the time of its sending: so many are due to each viewer, wherever the window's edges are.
        window
            .has(frame.sent)
            .then(|| clock::micros_between(frame.sent, now))
    }

    /// Counts the end of a response for what it was.
    pub fn note_end(&mut self, end: &End) {
        match (end, self.last.take()) {
            (End::Torn(_), _) => self.seen.torn += 1,
            (End::Gone(_), Some(_)) => self.seen.ended += 1,
            (End::Gone(_), None) => self.seen.refused += 1,
        }
    }

    /// The end of all watching: a viewer who has had no frame since counts that as its pause.
    pub fn finish(mut self, window: &Window) -> ViewerSeen {
        if self.seen.first_frame_us.is_none() && self.seen.refused == 0 {
            self.seen.refused = 1;
        }
        let since = self.last_at.max(window.open);
        let pause = clock::micros_between(since, window.close);
        self.seen.pause_us = self.seen.pause_us.max(pause);
        self.seen
    }
}

/// Why a viewer's response is over.
#[derive(Debug)]
pub enum End {
    /// The connection failed or ended, or the answer was no stream.
    Gone(String),
    /// The bytes are not what they should be.
    Torn(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Gone(error.to_string())
    }
}

impl Viewer {
    /// A viewer whose connection is on its way.
    pub fn new(transport: Transport, watching: Watching) -> Viewer {
        Viewer {
            transport,
            state: State::Connecting,
            watching,
        }
    }

    pub fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting)
    }

    pub fn has_a_frame(&self) -> bool {
        self.watching.last.is_some()
    }

    pub fn into_watching(self) -> Watching {
        self.watching
    }

    /// Asks for the stream over the connection that is now there.
    pub fn ask(&mut self, address: SocketAddr, path: &str) -> Result<(), End> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: peers-bench\r\nAccept: */*\r\n\r\n"
        );
        self.transport.send(request.as_bytes())?;
        self.state = State::Head(Vec::new());
        Ok(())
    }

    /// Reads once, and calls `age` with the microseconds of each frame that was sent in the measured time.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        window: &Window,
        mut age: impl FnMut(u32),
    ) -> Result<(), End> {
        let (state, watching) = (&mut self.state, &mut self.watching);
        let mut whole = |frame: Frame| {
            if let Some(micros) = watching.note(&frame, window) {
                age(micros);
            }
        };
        self.transport
            .read(buffer, |bytes| state.take(bytes, &mut whole))
    }
}

impl State {
    /// Takes the response's next bytes and calls `whole` with each frame that is now whole.
    fn take(&mut self, bytes: &[u8], whole: &mut impl FnMut(Frame)) -> Result<(), End> {
        match self {
            State::Connecting => Ok(()),
            State::Head(head) => {
                head.extend_from_slice(bytes);
                let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                    return Ok(());
                };
                let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
                if text.split_ascii_whitespace().nth(1) != Some("200") {
                    let line = text.lines().next().unwrap_or_default();
                    return Err(End::Gone(format!("answered with: {line}")));
                }
                let chunked = text.contains("transfer-encoding: chunked");
                let rest = head.split_off(end + 4);
                let readers = (ChunkDecoder::new(chunked), FlvReader::new());
                *self = State::Body(Box::new(readers));
                self.take(&rest, whole)
            }
            State::Body(readers) => {
                let (chunks, flv) = &mut **readers;
                let fed = chunks.feed(bytes, |data| flv.feed(data, whole));
                fed.map_err(|error| match error {
                    "the live stream ended" => End::Gone(error.to_owned()),
                    _ => End::Torn(error.to_owned()),
                })
            }
        }
    }
}
