//! One encoder's stream at the origin: its frames, the group of pictures for who comes, and its viewers.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::rc::Rc;

use crate::clock;
use crate::flv::{self, FRAME_MS, Frame, GOP};

/// Nanoseconds from one frame to the next.
const FRAME_NS: u64 = FRAME_MS * 1_000_000;

/// Frames that wait for a viewer at most, 30 s of them; a viewer further behind is left.
const WAITING: usize = 750;

/// What the streams of one origin share.
pub struct Encoder {
    /// When the process began, and with it all its streams.
    pub began: u64,
    pub run: u32,
    /// Milliseconds: the timestamp of frame 0.
    pub first_timestamp: u32,
}

pub struct EncodedStream {
    /// When the next frame is due.
    pub due: u64,
    /// The next frame's number.
    number: u64,
    /// Frames from the last key frame on: number and time.
    group: Vec<(u64, u64)>,
    viewers: Vec<Viewer>,
}

impl EncodedStream {
    /// A stream that has run since the process began; `index` makes its phase.
    pub fn new(encoder: &Encoder, index: usize) -> EncodedStream {
        // The golden ratio spreads any number of phases evenly.
        let phase = (index as f64 * 0.618_034).fract() * FRAME_NS as f64;
        let began = encoder.began + phase as u64;
        let number = clock::now().saturating_sub(began).div_ceil(FRAME_NS);
        let due = |number: u64| began + number * FRAME_NS;
        EncodedStream {
            due: due(number),
            number,
            group: (number / GOP * GOP..number)
                .map(|number| (number, due(number)))
                .collect(),
            viewers: Vec::new(),
        }
    }

    /// Gives a viewer the beginning and the group of pictures so far.
    pub fn join(&mut self, encoder: &Encoder, socket: TcpStream) {
        let mut bytes = chunk(&flv::beginning());
        for &(number, sent) in &self.group {
            bytes.extend(chunk(&frame(encoder, number, sent)));
        }
        let mut viewer = Viewer {
            socket,
            waiting: VecDeque::new(),
            taken: 0,
        };
        if viewer.send(&Rc::from(bytes)).is_ok() {
            self.viewers.push(viewer);
        }
    }

    /// Makes the next frame and sends it to everybody.
    pub fn send_frame(&mut self, encoder: &Encoder) {
        let now = clock::now();
        if self.number.is_multiple_of(GOP) {
            self.group.clear();
        }
        self.group.push((self.number, now));
        if !self.viewers.is_empty() {
            let bytes: Rc<[u8]> = Rc::from(chunk(&frame(encoder, self.number, now)));
            self.viewers
                .retain_mut(|viewer| viewer.send(&bytes).is_ok());
        }
        self.number += 1;
        // An origin that comes late does not hurry afterwards: a burst would be measured as the proxy's.
        self.due = (self.due + FRAME_NS).max(now);
    }

    /// Sends what viewers could not take before.
    pub fn send_rests(&mut self) {
        self.viewers.retain_mut(|viewer| viewer.send_rest().is_ok());
    }

    pub fn is_behind(&self) -> bool {
        self.viewers.iter().any(|viewer| !viewer.waiting.is_empty())
    }

    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }
}

fn frame(encoder: &Encoder, number: u64, sent: u64) -> Vec<u8> {
    flv::frame(&Frame {
        // Timestamps of 32 bits begin again at 0 (E.4.1).
        timestamp: (u64::from(encoder.first_timestamp) + number * FRAME_MS) as u32,
        key: number.is_multiple_of(GOP),
        sent,
        number,
        run: encoder.run,
    })
}

fn chunk(data: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

struct Viewer {
    socket: TcpStream,
    /// Chunks that the socket did not take yet.
    waiting: VecDeque<Rc<[u8]>>,
    /// Bytes of the first of them that it has taken.
    taken: usize,
}

impl Viewer {
    fn send(&mut self, chunk: &Rc<[u8]>) -> io::Result<()> {
        if self.waiting.len() > WAITING {
            return Err(ErrorKind::TimedOut.into());
        }
        self.waiting.push_back(Rc::clone(chunk));
        self.send_rest()
    }

    fn send_rest(&mut self) -> io::Result<()> {
        while let Some(chunk) = self.waiting.front() {
            match self.socket.write(&chunk[self.taken..]) {
                Ok(count) => self.taken += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.taken == chunk.len() {
                self.waiting.pop_front();
                self.taken = 0;
            }
        }
        Ok(())
    }
}
