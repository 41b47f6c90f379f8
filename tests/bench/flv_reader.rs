//! Reads FLV as a player does, and checks every byte that is known beforehand.

use crate::flv::{
    DATA_BYTES, Frame, MAGIC, STAMP_AT, STAMP_BYTES, TAG_HEAD, TAG_KINDS, VIDEO, filling,
};

/// The file header and the size of the tag before the first, which is none.
const FILE_HEAD: usize = 13;
/// A frame's tag up to its filling.
const FRAME_HEAD: usize = TAG_HEAD + STAMP_AT + STAMP_BYTES;

/// What the next byte belongs to.
enum Part {
    FileHead,
    TagHead,
    /// The data's beginning, up to this length of head and data together.
    DataHead(usize),
    /// The rest of the data, with this much left.
    Data(usize),
    TagSize,
}

/// A response body without its coding, in whatever pieces it comes.
pub struct FlvReader {
    part: Part,
    head: [u8; FRAME_HEAD],
    have: usize,
    /// Bytes of the tag's data.
    length: usize,
    frame: Option<Frame>,
    configured: bool,
}

impl FlvReader {
    pub fn new() -> FlvReader {
        FlvReader {
            part: Part::FileHead,
            head: [0; FRAME_HEAD],
            have: 0,
            length: 0,
            frame: None,
            configured: false,
        }
    }

    /// Takes the next bytes and calls `whole` with each frame that is now whole. An error is for ever: the reader has
    /// lost its place.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        whole: &mut impl FnMut(Frame),
    ) -> Result<(), &'static str> {
        while !bytes.is_empty() {
            match self.part {
                Part::FileHead => {
                    if self.collect(&mut bytes, FILE_HEAD) {
                        self.check_file_head()?;
                        self.next(Part::TagHead);
                    }
                }
                Part::TagHead => {
                    if self.collect(&mut bytes, TAG_HEAD) {
                        self.check_tag_head()?;
                        self.part = Part::DataHead((TAG_HEAD + self.length).min(FRAME_HEAD));
                    }
                }
                Part::DataHead(end) => {
                    if self.collect(&mut bytes, end) {
                        self.look_at_data(end)?;
                        self.part = Part::Data(TAG_HEAD + self.length - end);
                    }
                }
                Part::Data(left) => {
                    let (data, rest) = bytes.split_at(left.min(bytes.len()));
                    if let Some(frame) = &self.frame {
                        let filling = filling(frame.number, frame.run);
                        let at = filling.len() - left;
                        if filling[at..at + data.len()] != *data {
                            return Err("a torn tag: a frame's bytes are not its own");
                        }
                    }
                    bytes = rest;
                    if data.len() == left {
                        self.next(Part::TagSize);
                    } else {
                        self.part = Part::Data(left - data.len());
                    }
                }
                Part::TagSize => {
                    if self.collect(&mut bytes, 4) {
                        let size = u32::from_be_bytes(field(&self.head, 0)) as usize;
                        if size != TAG_HEAD + self.length {
                            return Err("a torn tag: the size after it is not its own");
                        }
                        if let Some(frame) = self.frame.take() {
                            whole(frame);
                        }
                        self.next(Part::TagHead);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes bytes until there are `wanted` of the part. Returns whether there are.
    fn collect(&mut self, bytes: &mut &[u8], wanted: usize) -> bool {
        let (taken, rest) = bytes.split_at(bytes.len().min(wanted - self.have));
        self.head[self.have..self.have + taken.len()].copy_from_slice(taken);
        self.have += taken.len();
        *bytes = rest;
        self.have == wanted
    }

    fn next(&mut self, part: Part) {
        self.part = part;
        self.have = 0;
    }

    fn check_file_head(&self) -> Result<(), &'static str> {
        if self.head[..4] == *b"FLV\x01" && self.head[5..FILE_HEAD] == [0, 0, 0, 9, 0, 0, 0, 0] {
            Ok(())
        } else {
            Err("the body does not begin with an FLV header")
        }
    }

    fn check_tag_head(&mut self) -> Result<(), &'static str> {
        if !TAG_KINDS.contains(&self.head[0]) || self.head[8..TAG_HEAD] != [0; 3] {
            return Err("a torn tag: no tag begins where one should");
        }
        self.length = u32::from_be_bytes([0, self.head[1], self.head[2], self.head[3]]) as usize;
        Ok(())
    }

    /// Sees whether the tag, of which this much is there, is a configuration or a frame.
    fn look_at_data(&mut self, end: usize) -> Result<(), &'static str> {
        let head = &self.head[..end];
        let data = &head[TAG_HEAD..];
        if head[0] != VIDEO || data.len() < 2 {
            return Ok(());
        }
        match data[1] {
            0 => {
                self.configured = true;
                return Ok(());
            }
            // The end of a sequence, which a splice may have.
            2 => return Ok(()),
            _ => {}
        }
        if self.length != DATA_BYTES || data[STAMP_AT..STAMP_AT + 4] != MAGIC {
            return Err("a torn tag: a frame without its stamp");
        }
        if !self.configured {
            return Err("a frame before the decoder's configuration");
        }
        self.frame = Some(Frame {
            timestamp: u32::from_be_bytes([head[7], head[4], head[5], head[6]]),
            key: data[0] == 0x17,
            sent: u64::from_le_bytes(field(data, STAMP_AT + 4)),
            number: u64::from_le_bytes(field(data, STAMP_AT + 12)),
            run: u32::from_le_bytes(field(data, STAMP_AT + 20)),
        });
        Ok(())
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}
