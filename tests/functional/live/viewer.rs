//! A viewer of an FLV channel, which checks every tag.

use crate::common::SOON;
use crate::common::body::BodyEnd;
use crate::common::client::{Client, Piece};
use crate::common::flv::{Reader, Tag};
use crate::common::head::Headers;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub struct Viewer {
    pub client: Client,
    pub headers: Headers,
    reader: Reader,
    tags: VecDeque<Tag>,
}

impl Viewer {
    /// Asks for a stream, without waiting for the answer.
    pub fn ask(server: SocketAddr, target: &str) -> Client {
        let mut client = Client::connect(server);
        client.request("GET", target, &[]);
        client
    }

    /// Reads the head of the answer.
    #[track_caller]
    pub fn of(mut client: Client) -> Self {
        let head = client.read_head(SOON);
        assert_eq!(head.status, 200);
        Self {
            client,
            headers: head.headers,
            reader: Reader::default(),
            tags: VecDeque::new(),
        }
    }

    /// Joins a stream that runs.
    #[track_caller]
    pub fn join(server: SocketAddr, target: &str) -> Self {
        Self::of(Self::ask(server, target))
    }

    /// The next tag.
    #[track_caller]
    pub fn tag(&mut self) -> Tag {
        self.tag_within(SOON)
    }

    #[track_caller]
    pub fn tag_within(&mut self, time: Duration) -> Tag {
        let end = Instant::now() + time;
        loop {
            if let Some(tag) = self.tags.pop_front() {
                return tag;
            }
            match self
                .client
                .read_piece(end.saturating_duration_since(Instant::now()))
            {
                Piece::Bytes(bytes) => self.tags.extend(self.reader.feed(&bytes)),
                other => panic!("{other:?} instead of a tag"),
            }
        }
    }

    /// The next frame, whatever else comes before it.
    #[track_caller]
    pub fn frame(&mut self) -> Tag {
        loop {
            let tag = self.tag();
            if tag.is_frame() {
                return tag;
            }
        }
    }

    /// Takes the next frames for those with these fills.
    #[track_caller]
    pub fn expect_frames(&mut self, fills: impl IntoIterator<Item = u8>) {
        for fill in fills {
            assert_eq!(self.frame().fill(), fill);
        }
    }

    /// Reads to the end; gives the tags that were left, and how the body ended.
    ///
    /// # Panics
    /// When the end is within a tag.
    #[track_caller]
    pub fn rest(mut self, time: Duration) -> (Vec<Tag>, BodyEnd) {
        let (bytes, end) = self.client.read_rest(time);
        self.tags.extend(self.reader.feed(&bytes));
        assert!(!self.reader.is_torn(), "the body ends within a tag");
        (self.tags.into(), end)
    }
}
