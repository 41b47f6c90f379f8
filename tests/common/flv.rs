//! FLV as an encoder writes it, and as a player reads it: H.264 in tags whose payload the test can tell apart.

/// The header of a file with video, and the size that comes before its first tag.
pub const HEADER: &[u8] = b"FLV\x01\x01\0\0\0\x09\0\0\0\0";

/// One tag, with the size after it.
pub fn tag(kind: u8, timestamp: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).expect("a small tag");
    let [high, a, b, c] = timestamp.to_be_bytes();
    let mut tag = vec![kind];
    tag.extend(&size.to_be_bytes()[1..]);
    tag.extend([a, b, c, high, 0, 0, 0]);
    tag.extend(body);
    tag.extend((size + 11).to_be_bytes());
    tag
}

/// `onMetaData` with a width.
pub fn metadata() -> Vec<u8> {
    let body = b"\x02\0\x0aonMetaData\x08\0\0\0\x01\0\x05width\0\x40\x74\0\0\0\0\0\0\0\0\x09";
    tag(18, 0, body)
}

/// The AVC decoder configuration of a baseline stream; `profile` tells two encoders apart.
pub fn config(profile: u8) -> Vec<u8> {
    let body = [
        0x17, 0, 0, 0, 0, 1, 0x42, profile, 0x1e, 0xff, 0xe1, 0, 4, 0x67, 0x42, profile, 0x1e, 1,
        0, 4, 0x68, 0xce, 0x3c, 0x80,
    ];
    tag(9, 0, &body)
}

/// What an origin sends first.
pub fn opening() -> Vec<u8> {
    [HEADER, &metadata(), &config(0xc0)].concat()
}

/// A frame of `size` bytes of payload, filled with `fill`.
pub fn frame(is_key: bool, timestamp: u32, fill: u8, size: usize) -> Vec<u8> {
    let mut body = vec![if is_key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
    body.extend(
        u32::try_from(size + 1)
            .expect("a small frame")
            .to_be_bytes(),
    );
    body.push(if is_key { 0x65 } else { 0x41 });
    body.resize(10 + size, fill);
    tag(9, timestamp, &body)
}

/// A key frame.
pub fn key(timestamp: u32, fill: u8) -> Vec<u8> {
    frame(true, timestamp, fill, 2000)
}

/// A frame that needs the one before it.
pub fn inter(timestamp: u32, fill: u8) -> Vec<u8> {
    frame(false, timestamp, fill, 500)
}

/// What an origin sends first of a stream without a picture: a header, and AAC's configuration.
pub fn audio_opening() -> Vec<u8> {
    let mut header = HEADER.to_vec();
    header[4] = 4;
    [header, tag(8, 0, &[0xaf, 0, 0x12, 0x10])].concat()
}

/// A frame of AAC.
pub fn audio(timestamp: u32, fill: u8) -> Vec<u8> {
    tag(8, timestamp, &[&[0xaf, 1][..], &[fill; 200]].concat())
}

/// A tag as a player sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    pub kind: u8,
    pub timestamp: u32,
    pub body: Vec<u8>,
}

impl Tag {
    /// Whether a picture can begin here.
    pub fn is_key(&self) -> bool {
        self.kind == 9 && self.body[0] == 0x17 && self.body[1] == 1
    }

    /// Whether it is a frame, not configuration.
    pub fn is_frame(&self) -> bool {
        self.kind == 9 && self.body[1] == 1
    }

    /// What the test filled the frame with.
    pub fn fill(&self) -> u8 {
        *self.body.last().expect("a body")
    }
}

/// Reads tags from a body that comes in pieces, strictly.
#[derive(Default)]
pub struct Reader {
    buffer: Vec<u8>,
    has_header: bool,
}

impl Reader {
    /// Takes bytes; gives the tags that are whole now.
    ///
    /// # Panics
    /// Where it is not FLV.
    #[track_caller]
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Tag> {
        self.buffer.extend_from_slice(bytes);
        if !self.has_header && self.buffer.len() >= HEADER.len() {
            assert_eq!(&self.buffer[..4], b"FLV\x01", "no FLV header");
            assert_eq!(&self.buffer[5..13], &HEADER[5..], "no FLV header");
            self.buffer.drain(..13);
            self.has_header = true;
        }
        let mut tags = Vec::new();
        while self.has_header && self.buffer.len() >= 11 {
            let b = &self.buffer;
            assert!([8, 9, 18].contains(&b[0]), "a torn tag: {:?}", &b[..11]);
            let size = u32::from_be_bytes([0, b[1], b[2], b[3]]) as usize;
            if b.len() < size + 15 {
                break;
            }
            let after = u32::from_be_bytes(b[size + 11..size + 15].try_into().expect("four"));
            assert_eq!(after as usize, size + 11, "the size after a tag");
            tags.push(Tag {
                kind: b[0],
                timestamp: u32::from_be_bytes([b[7], b[4], b[5], b[6]]),
                body: b[11..size + 11].to_vec(),
            });
            self.buffer.drain(..size + 15);
        }
        tags
    }

    /// Whether a tag has begun and is not whole.
    pub fn is_torn(&self) -> bool {
        !self.buffer.is_empty()
    }
}
