//! The tables that tell what is in a transport stream: PAT and PMT (ISO/IEC 13818-1, 2.4.4.3 and 2.4.4.8).

use super::random_access::VideoCodec;
use super::section;
use crate::media::format::NotThisFormat;

/// `table_id` of PAT and PMT.
pub const PAT: u8 = 0;
pub const PMT: u8 = 2;

const MASK: u16 = 0x1FFF;

/// The only program of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    pub number: u16,
    pub pmt_pid: u16,
}

impl Program {
    /// The program that the section of a PAT lists. `None`: the section is no PAT, or lists none.
    ///
    /// # Errors
    /// [`NotThisFormat`] where there are several.
    pub fn parse(pat: &[u8]) -> Result<Option<Self>, NotThisFormat> {
        let entries = section::content(pat, PAT)
            .unwrap_or_default()
            .chunks_exact(4);
        // Number 0 is the network's PID.
        let mut programs = entries
            .filter(|entry| entry[..2] != [0, 0])
            .map(|entry| Self {
                number: u16::from_be_bytes([entry[0], entry[1]]),
                pmt_pid: u16::from_be_bytes([entry[2], entry[3]]) & MASK,
            });
        match (programs.next(), programs.next()) {
            (_, Some(_)) => Err(NotThisFormat("a transport stream of several programs")),
            (program, None) => Ok(program),
        }
    }
}

/// Replaces the PID of the only program's PMT in the section of a PAT.
pub fn set_pmt_pid(pat: &mut [u8], pid: u16) {
    let Some(end) = pat.len().checked_sub(4) else {
        return;
    };
    let entries = pat.get_mut(8..end).unwrap_or_default();
    for entry in entries
        .chunks_exact_mut(4)
        .filter(|entry| entry[..2] != [0, 0])
    {
        let [high, low] = (0xE000 | pid).to_be_bytes();
        [entry[2], entry[3]] = [high, low];
    }
    section::seal(pat);
}

/// What an elementary stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// `None`: of a codec whose key frames are not told from others.
    Video(Option<VideoCodec>),
    Audio,
    /// Subtitles and other data in PES packets.
    Data,
    /// Sections, not PES packets.
    Sections,
}

/// An elementary stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementaryStream {
    pub stream_type: u8,
    pub pid: u16,
    pub content: Content,
    pub descriptors: Vec<u8>,
}

impl ElementaryStream {
    /// Whether a decoder takes the one for the other.
    pub fn is_like(&self, other: &Self) -> bool {
        self.stream_type == other.stream_type
            && self.content == other.content
            // Private data is only told by its descriptors.
            && (self.stream_type != PRIVATE || self.descriptors == other.descriptors)
    }
}

/// The streams of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streams {
    /// PID of the program clock reference, which may be on a PID of its own.
    pub pcr_pid: u16,
    pub list: Vec<ElementaryStream>,
}

impl Streams {
    /// The streams that the section of a PMT lists. `None`: the section is no PMT, or breaks off.
    pub fn parse(pmt: &[u8]) -> Option<Self> {
        let rest = &mut section::content(pmt, PMT)?;
        let pcr_pid = number(rest)? & MASK;
        let about_program = usize::from(number(rest)? & 0xFFF);
        rest.split_off(..about_program)?;
        let mut list = Vec::new();
        while !rest.is_empty() {
            let stream_type = *rest.split_off_first()?;
            let pid = number(rest)? & MASK;
            let length = usize::from(number(rest)? & 0xFFF);
            let descriptors = rest.split_off(..length)?;
            list.push(ElementaryStream {
                stream_type,
                pid,
                content: content(stream_type, descriptors),
                descriptors: descriptors.to_vec(),
            });
        }
        Some(Self { pcr_pid, list })
    }

    /// Which stream the program clock reference is in. `None`: it has a PID of its own.
    pub fn pcr_stream(&self) -> Option<usize> {
        self.list
            .iter()
            .position(|stream| stream.pid == self.pcr_pid)
    }
}

fn number(rest: &mut &[u8]) -> Option<u16> {
    let bytes = rest.split_off(..2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// `stream_type` of private data in PES packets.
const PRIVATE: u8 = 0x06;

/// By table 2-34, and what ATSC and others have added.
fn content(stream_type: u8, descriptors: &[u8]) -> Content {
    match stream_type {
        0x01 | 0x02 => Content::Video(Some(VideoCodec::Mpeg2)),
        0x1B => Content::Video(Some(VideoCodec::H264)),
        0x24 => Content::Video(Some(VideoCodec::Hevc)),
        0x10 | 0x1E..=0x21 | 0x25..=0x2A | 0x31..=0x33 | 0x42 | 0xD1 | 0xD2 | 0xEA => {
            Content::Video(None)
        }
        0x03 | 0x04 | 0x0F | 0x11 | 0x1C | 0x2D | 0x2E | 0x80..=0x85 | 0x87 | 0x8A => {
            Content::Audio
        }
        0x05 | 0x0A..=0x0D | 0x14 | 0x16 | 0x86 | 0xC0 => Content::Sections,
        PRIVATE => private(descriptors),
        _ => Content::Data,
    }
}

fn private(mut descriptors: &[u8]) -> Content {
    while let [tag, length, rest @ ..] = descriptors {
        let Some((body, after)) = rest.split_at_checked(usize::from(*length)) else {
            break;
        };
        match (tag, body) {
            (5, b"AV01") => return Content::Video(None),
            (5, b"Opus" | b"AC-3" | b"EAC3" | b"BSSD") => return Content::Audio,
            // AC-3, E-AC-3, DTS, AAC (ETSI EN 300 468).
            (0x6A | 0x7A | 0x7B | 0x7C, _) => return Content::Audio,
            _ => descriptors = after,
        }
    }
    Content::Data
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The section of a table of that content.
    pub fn table(id: u8, body: &[u8]) -> Vec<u8> {
        let payload = section::payload(id, body);
        payload[1..1 + 8 + body.len() + 4].to_vec()
    }

    #[test]
    fn programs() {
        let one = Some(Program {
            number: 1,
            pmt_pid: 0x1001,
        });
        for (body, expected) in [
            (&[0, 1, 0xF0, 1][..], Ok(one)),
            (&[0, 0, 0xE0, 0x10, 0, 1, 0xF0, 1], Ok(one)),
            (&[], Ok(None)),
            (
                &[0, 1, 0xF0, 1, 0, 2, 0xF0, 2],
                Err(NotThisFormat("a transport stream of several programs")),
            ),
        ] {
            assert_eq!(Program::parse(&table(PAT, body)), expected, "{body:?}");
        }
        assert_eq!(Program::parse(&table(PMT, &[0, 1, 0xF0, 1])), Ok(None));
        let mut pat = table(PAT, &[0, 0, 0xE0, 0x10, 0, 1, 0xF0, 1]);
        set_pmt_pid(&mut pat, 0x123);
        assert_eq!(
            Program::parse(&pat),
            Ok(Some(Program {
                number: 1,
                pmt_pid: 0x123
            }))
        );
        assert_eq!(
            (section::crc32(&pat), &pat[8..12]),
            (0, &[0, 0, 0xE0, 0x10][..])
        );
    }

    #[test]
    fn streams() {
        let pmt = b"\xe0\x50\xf0\x02\x99\x00\x1b\xe1\0\xf0\0\x06\xe1\x01\xf0\x06\x05\x04Opus\x86\xe1\x02\xf0\0";
        let streams = Streams::parse(&table(PMT, pmt)).unwrap();
        let seen: Vec<_> = streams.list.iter().map(|it| (it.pid, it.content)).collect();
        assert_eq!(
            seen,
            [
                (0x100, Content::Video(Some(VideoCodec::H264))),
                (0x101, Content::Audio),
                (0x102, Content::Sections)
            ]
        );
        assert_eq!((streams.pcr_pid, streams.pcr_stream()), (0x50, None));
        assert!(streams.list[1].is_like(&ElementaryStream {
            pid: 7,
            ..streams.list[1].clone()
        }));
        assert!(!streams.list[1].is_like(&ElementaryStream {
            descriptors: vec![],
            ..streams.list[1].clone()
        }));
        assert_eq!(Streams::parse(&table(PMT, &pmt[..pmt.len() - 1])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_parsed(bytes: Vec<u8>, body in prop::collection::vec(any::<u8>(), 0..170)) {
            for section in [bytes, table(PAT, &body), table(PMT, &body)] {
                let _ = (Program::parse(&section), Streams::parse(&section));
                set_pmt_pid(&mut section.clone(), 1);
            }
        }
    }
}
