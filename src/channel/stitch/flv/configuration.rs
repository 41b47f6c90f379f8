//! What a viewer needs before its first frame: `onMetaData` and the codecs' configurations.

use crate::media::flv::tag::{self, Tag};
use crate::media::format::NotThisFormat;

/// The most bytes of a tag that is kept for those who join: `onMetaData` of a live stream has some hundred.
const MAX_KEPT: usize = 256 * 1024;
/// The most configurations that are kept: two tracks of several kinds, which nobody has been seen to exceed.
const MAX_SLOTS: usize = 16;

/// The slot of `onMetaData`, which stands before the sequence headers.
pub const METADATA: u16 = u16::MAX;

/// The latest tag of a slot.
#[derive(Debug)]
struct Kept {
    kind: u8,
    slot: u16,
    /// The tag with the length that follows it, as it was or will be sent.
    bytes: Vec<u8>,
    /// The tag that viewers have. Empty: none.
    sent: Vec<u8>,
    /// It was in the body of this connection.
    is_current: bool,
}

/// The latest configurations: what viewers have, and what goes out with the next connection's key frame.
#[derive(Debug, Default)]
pub struct Configurations(Vec<Kept>);

/// Who has to be told of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// Viewers have another one.
    pub for_viewers: bool,
    /// Those who join would get another one, or none.
    pub for_opening: bool,
}

impl Configurations {
    /// What follows is of another connection, which has to send its own.
    pub fn splice(&mut self) {
        for kept in &mut self.0 {
            kept.is_current = false;
        }
    }

    /// Whether this connection has sent a configuration in that kind of tag.
    pub fn has(&self, kind: u8) -> bool {
        let mut current = self.0.iter().filter(|kept| kept.is_current);
        current.any(|kept| kept.kind == kind && kept.slot != METADATA)
    }

    /// Keeps a configuration, with its outgoing timestamp. It goes out with [`Self::begin`], or the caller
    /// sends it and says so with [`Self::sent`].
    ///
    /// # Errors
    /// [`NotThisFormat`] where it is too large.
    pub fn take(
        &mut self,
        tag: Tag<'_>,
        slot: u16,
        unit: &[u8],
        timestamp: u32,
    ) -> Result<News, NotThisFormat> {
        if unit.len() > MAX_KEPT {
            return Err(NotThisFormat("an FLV configuration of more than 256 KiB"));
        }
        let known = self
            .0
            .iter()
            .position(|it| (it.kind, it.slot) == (tag.kind, slot));
        let kept = match known {
            Some(index) => &mut self.0[index],
            None => {
                self.make_room();
                self.0.push(Kept {
                    kind: tag.kind,
                    slot,
                    bytes: Vec::new(),
                    sent: Vec::new(),
                    is_current: false,
                });
                let last = self.0.len() - 1;
                &mut self.0[last]
            }
        };
        let same = body(&kept.bytes) == Some(tag.body);
        let news = News {
            for_viewers: body(&kept.sent) != Some(tag.body),
            for_opening: !same || !kept.is_current,
        };
        kept.is_current = true;
        if !same {
            kept.bytes = unit.to_vec();
        }
        if news.for_opening {
            tag::set_timestamp(&mut kept.bytes, timestamp);
        }
        Ok(news)
    }

    /// Forgets one where a new one would be one too many: of the last connection, else the oldest.
    fn make_room(&mut self) {
        if self.0.len() >= MAX_SLOTS {
            let past = self.0.iter().position(|kept| !kept.is_current);
            self.0.remove(past.unwrap_or(0));
        }
    }

    /// Viewers have got the one of that slot.
    pub fn sent(&mut self, kind: u8, slot: u16) {
        let kept = self
            .0
            .iter_mut()
            .find(|it| (it.kind, it.slot) == (kind, slot));
        if let Some(kept) = kept {
            kept.sent.clone_from(&kept.bytes);
        }
    }

    /// A new connection's stream begins at `timestamp`: gives the tags that viewers do not have, and all of the
    /// connection's are of that time.
    pub fn begin(&mut self, timestamp: u32, mut give: impl FnMut(&[u8])) {
        let metadata_first = [true, false];
        for metadata in metadata_first {
            let current = self.0.iter_mut().filter(|kept| kept.is_current);
            for kept in current.filter(|kept| (kept.slot == METADATA) == metadata) {
                tag::set_timestamp(&mut kept.bytes, timestamp);
                if body(&kept.sent) != body(&kept.bytes) {
                    give(&kept.bytes);
                    kept.sent.clone_from(&kept.bytes);
                }
            }
        }
    }

    /// Appends the connection's tags for those who join.
    pub fn write(&self, out: &mut Vec<u8>) {
        let current = || self.0.iter().filter(|kept| kept.is_current);
        for kept in current().filter(|kept| kept.slot == METADATA) {
            let start = out.len();
            out.extend_from_slice(&kept.bytes);
            // Metadata at any other time than 0 is a stream of subtitles for ffmpeg.
            tag::set_timestamp(&mut out[start..], 0);
        }
        for kept in current().filter(|kept| kept.slot != METADATA) {
            out.extend_from_slice(&kept.bytes);
        }
    }
}

fn body(mut tag: &[u8]) -> Option<&[u8]> {
    Tag::read(&mut tag).map(|tag| tag.body)
}
