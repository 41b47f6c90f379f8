//! A PID of a connection: which of the viewers' PIDs it becomes, and how far the frame on it has come.

use super::outgoing::Pair;
use crate::media::ts::packet::Packet;
use crate::media::ts::pes::PesHeader;
use crate::media::ts::tables::Content;

/// A PES packet that is arriving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// So many bytes are missing.
    Bytes(usize),
    /// Its length is not told.
    Unbounded,
}

/// A PID of this connection.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub pair: Pair,
    pub content: Content,
    /// A PES packet or section began on it since the splice. What comes before is the rest of one.
    pub started: bool,
    open: Option<Open>,
    /// A PES packet began on it in the unit that is held.
    pub begun: bool,
    /// Since the splice, no frame on it was later than those before.
    pub is_behind: bool,
    /// The rest of the frame is dropped.
    pub dropping: bool,
}

impl Route {
    /// The route of a PID on which nothing came yet, after a splice or before the first.
    pub fn new(pair: Pair, content: Content, spliced: bool) -> Self {
        Self {
            pair,
            content,
            started: !spliced,
            open: None,
            begun: false,
            is_behind: spliced,
            dropping: false,
        }
    }

    pub fn is_video(&self) -> bool {
        matches!(self.content, Content::Video(_))
    }

    /// A PES packet is arriving whose end has not come.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// A PES packet begins. `None`: its header is not understood, and its end is not waited for.
    pub fn begin(&mut self, header: Option<PesHeader>) {
        (self.started, self.begun) = (true, true);
        self.open = header.map(|header| match header.length {
            Some(length) => Open::Bytes(length),
            None => Open::Unbounded,
        });
    }

    /// Takes the next packet of a PES packet, the first one's too. A muxer fills up the last one.
    pub fn go_on(&mut self, packet: Packet<'_>) {
        self.open = match self.open {
            Some(Open::Bytes(missing)) => {
                let missing = missing.saturating_sub(packet.payload().len());
                (missing > 0).then_some(Open::Bytes(missing))
            }
            Some(Open::Unbounded) if packet.is_stuffed() => None,
            open => open,
        };
    }

    /// The end of the PES packet is not waited for any more.
    pub fn close(&mut self) {
        self.open = None;
    }
}
