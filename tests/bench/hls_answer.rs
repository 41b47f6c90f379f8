//! An answer to one HLS request over a connection that stays: its head, and a body that is checked while it comes.

use crate::numbered_segment::{SEGMENT_BYTES, SegmentCheck};

/// What was asked for.
pub enum Body {
    /// A playlist, with what there is of it.
    Playlist(Vec<u8>),
    Segment(SegmentCheck),
}

pub struct Answer {
    head: Vec<u8>,
    /// Bytes of the body that are to come; `None` before the head is whole.
    left: Option<usize>,
    pub body: Body,
}

impl Answer {
    /// An answer of which nothing has come yet.
    pub fn new(body: Body) -> Answer {
        Answer {
            head: Vec::new(),
            left: None,
            body,
        }
    }

    /// Takes the next bytes of the connection. Returns whether the answer is whole.
    pub fn take(&mut self, bytes: &[u8]) -> Result<bool, String> {
        let Some(left) = self.left else {
            self.head.extend_from_slice(bytes);
            let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
                return Ok(false);
            };
            let rest = self.head.split_off(end + 4);
            self.left = Some(self.read_head()?);
            return self.take(&rest);
        };
        self.left = Some(
            left.checked_sub(bytes.len())
                .ok_or("more than the answer")?,
        );
        match &mut self.body {
            Body::Playlist(text) => text.extend_from_slice(bytes),
            Body::Segment(segment) => segment.take(bytes)?,
        }
        Ok(self.left == Some(0))
    }

    /// The body's length by the head, which is whole.
    fn read_head(&self) -> Result<usize, String> {
        let text = String::from_utf8_lossy(&self.head).to_ascii_lowercase();
        if text.split_ascii_whitespace().nth(1) != Some("200") {
            let line = text.lines().next().unwrap_or_default();
            return Err(format!("answered with: {line}"));
        }
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|length| length.trim().parse().ok())
            .ok_or("an answer without its length")?;
        if matches!(self.body, Body::Segment(_)) && length != SEGMENT_BYTES {
            return Err(format!("a segment of {length} bytes"));
        }
        Ok(length)
    }
}
