//! One viewer of live HLS: asks for the playlist when told to, and then for each segment that is new in it, over one
//! connection that stays.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use rustix::event::epoll;
use rustix::fd::OwnedFd;

use crate::clock;
use crate::hls_answer::{Answer, Body};
use crate::hls_origin::STREAM;
use crate::live_edge::{Listed, LiveEdge};
use crate::numbered_segment::SegmentCheck;
use crate::transport::Transport;

/// Where viewers are counted in, and how epoll names this one.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub epoll: &'a OwnedFd,
    pub seat: u64,
    pub address: SocketAddr,
}

/// What a viewer was answered, wholly and rightly.
pub struct Answered {
    pub segment: bool,
    /// When it was asked for.
    pub asked: u64,
    /// From the request to the last byte.
    pub micros: u32,
}

/// Why a request was in vain.
pub struct Failure(pub String);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(words: String) -> Failure {
        Failure(words)
    }
}

enum State {
    /// Without a connection.
    Away,
    Connecting(Transport),
    Idle(Transport),
    Asking(Transport, Box<Answer>, u64),
}

pub struct HlsViewer {
    /// The name that SRS gives the viewer's session, in `hls_ctx`.
    session: String,
    state: State,
    /// Segments of the last playlist that are still to be asked for.
    wanted: VecDeque<Listed>,
    pub edge: LiveEdge,
}

impl HlsViewer {
    pub fn new(session: String) -> HlsViewer {
        HlsViewer {
            session,
            state: State::Away,
            wanted: VecDeque::new(),
            edge: LiveEdge::default(),
        }
    }

    /// Whether the viewer waits for something.
    pub fn is_busy(&self) -> bool {
        matches!(self.state, State::Connecting(_) | State::Asking(..))
    }

    /// Asks for the playlist, over a new connection if there is none. A viewer who still waits is not served in time.
    pub fn poll(&mut self, place: Place) -> Result<(), Failure> {
        match std::mem::replace(&mut self.state, State::Away) {
            State::Away => {
                let transport = Transport::connect(place.address, None)?;
                let data = epoll::EventData::new_u64(place.seat);
                epoll::add(place.epoll, &transport, data, epoll::EventFlags::OUT)
                    .map_err(io::Error::from)?;
                self.state = State::Connecting(transport);
                Ok(())
            }
            State::Idle(transport) => self.ask_for_playlist(transport, place),
            State::Connecting(_) | State::Asking(..) => {
                Err("not all was there at the next poll".to_owned().into())
            }
        }
    }

    /// Goes on when the connection is ready. Returns what is now answered.
    pub fn go_on(&mut self, place: Place, buffer: &mut [u8]) -> Result<Option<Answered>, Failure> {
        match std::mem::replace(&mut self.state, State::Away) {
            State::Away => Ok(None),
            State::Connecting(transport) => {
                let data = epoll::EventData::new_u64(place.seat);
                epoll::modify(place.epoll, &transport, data, epoll::EventFlags::IN)
                    .map_err(io::Error::from)?;
                self.ask_for_playlist(transport, place)?;
                Ok(None)
            }
            State::Idle(mut transport) => {
                let unasked = |_: &[u8]| Err(Failure("bytes that nobody asked for".to_owned()));
                transport.read(buffer, unasked)?;
                self.state = State::Idle(transport);
                Ok(None)
            }
            State::Asking(mut transport, mut answer, asked) => {
                let mut whole = false;
                transport.read(buffer, |bytes| -> Result<(), Failure> {
                    whole = answer.take(bytes)?;
                    Ok(())
                })?;
                if !whole {
                    self.state = State::Asking(transport, answer, asked);
                    return Ok(None);
                }
                let answered = Answered {
                    segment: matches!(answer.body, Body::Segment(_)),
                    asked,
                    micros: clock::micros_between(asked, clock::now()),
                };
                self.use_answer(answer.body)?;
                self.ask_for_segment(transport, place)?;
                Ok(Some(answered))
            }
        }
    }

    /// Gives up what was under way.
    pub fn give_up(&mut self) {
        self.state = State::Away;
        self.wanted.clear();
    }

    fn use_answer(&mut self, body: Body) -> Result<(), Failure> {
        match body {
            Body::Playlist(text) => {
                let text = String::from_utf8_lossy(&text);
                self.wanted = self.edge.new_segments(&text)?.into();
            }
            Body::Segment(segment) => self.edge.last = Some(segment.number),
        }
        Ok(())
    }

    fn ask_for_playlist(&mut self, transport: Transport, place: Place) -> Result<(), Failure> {
        let target = format!("/live/{STREAM}.m3u8?hls_ctx={}", self.session);
        self.ask(transport, place, &target, Body::Playlist(Vec::new()))
    }

    /// Asks for the next new segment, if there is one.
    fn ask_for_segment(&mut self, transport: Transport, place: Place) -> Result<(), Failure> {
        let Some(Listed { number, uri }) = self.wanted.pop_front() else {
            self.state = State::Idle(transport);
            return Ok(());
        };
        let body = Body::Segment(SegmentCheck::new(number));
        self.ask(transport, place, &format!("/live/{uri}"), body)
    }

    fn ask(
        &mut self,
        mut transport: Transport,
        place: Place,
        target: &str,
        body: Body,
    ) -> Result<(), Failure> {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: peers-bench\r\nAccept: */*\r\n\r\n",
            place.address
        );
        let asked = clock::now();
        transport.send(request.as_bytes())?;
        self.state = State::Asking(transport, Box::new(Answer::new(body)), asked);
        Ok(())
    }
}
