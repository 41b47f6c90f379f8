//! FLV: one header, configuration only where it differs, timestamps that go on.

mod configuration;
#[cfg(test)]
mod tests;

use super::presence::Presence;
use super::timeline::{Timeline, Times};
use crate::channel::stitch::unit::Unit;
use crate::media::flv::audio::Audio;
use crate::media::flv::codec::Role;
use crate::media::flv::framing::FlvFraming;
use crate::media::flv::metadata;
use crate::media::flv::tag::{self, Tag};
use crate::media::flv::video::Video;
use crate::media::format::NotThisFormat;
use crate::media::splitter::Splitter;
use configuration::{Configurations, METADATA};
use std::sync::Arc;

/// Milliseconds without audio after which the header says that there is none: players wait for what it promises.
const LONG_WITHOUT_AUDIO: u64 = 3000;
/// Audio that is this far behind in ms was not in step with the video before either, and is let through.
const OUT_OF_STEP: i64 = 10_000;

/// Bytes that are kept for tags in work; what a larger one needed is given back.
const MAX_SCRATCH: usize = 256 * 1024;

const VIDEO: u16 = 0;
const AUDIO: u16 = 1;
/// Bits of the header's flags.
const VIDEO_FLAG: u8 = 1;
const AUDIO_FLAG: u8 = 4;

/// Stitches FLV tags.
#[derive(Default)]
pub struct FlvStitcher {
    splitter: Splitter<FlvFraming>,
    stream: Stream,
}

/// What is known of the outgoing stream.
struct Stream {
    /// The header of this connection's body has not come yet.
    header_is_due: bool,
    /// Flags of this connection's header, and what it turned out to be.
    declared: u8,
    flags: u8,
    presence: Presence,
    has_video: Option<bool>,
    has_audio: bool,
    /// When the first frame of this connection came that was no audio, in ms.
    first_video: Option<i64>,
    configurations: Configurations,
    timeline: Timeline,
    waiting: bool,
    /// There was a splice: times are rewritten.
    spliced: bool,
    /// There was no audio yet since the splice that is later than the audio before it.
    audio_is_behind: bool,
    opening: Arc<[u8]>,
    /// The tag in work, where it is rewritten.
    scratch: Vec<u8>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            header_is_due: true,
            declared: 0,
            flags: 0,
            presence: Presence::default(),
            has_video: None,
            has_audio: false,
            first_video: None,
            configurations: Configurations::default(),
            timeline: Timeline::new(32, 1000),
            waiting: false,
            spliced: false,
            audio_is_behind: false,
            opening: Arc::default(),
            scratch: Vec::new(),
        }
    }
}

impl FlvStitcher {
    pub fn push(
        &mut self,
        bytes: &[u8],
        out: &mut dyn FnMut(Unit<'_>),
    ) -> Result<(), NotThisFormat> {
        let Self { splitter, stream } = self;
        splitter.push(bytes, |unit| stream.take(unit, out))
    }

    pub fn splice(&mut self) {
        self.splitter = Splitter::default();
        let stream = &mut self.stream;
        stream.header_is_due = true;
        stream.presence = Presence::default();
        stream.first_video = None;
        stream.has_audio = false;
        stream.waiting = true;
        stream.spliced = true;
        stream.timeline.splice();
        stream.configurations.splice();
    }

    pub fn is_waiting_for_key(&self) -> bool {
        self.stream.waiting
    }

    pub fn pending(&self) -> &[u8] {
        self.splitter.pending()
    }

    pub fn opening(&self) -> Arc<[u8]> {
        self.stream.opening.clone()
    }

    pub fn has_video(&self) -> Option<bool> {
        self.stream.has_video
    }
}

type Out<'o> = &'o mut dyn FnMut(Unit<'_>);

impl Stream {
    fn take(&mut self, unit: &[u8], out: Out<'_>) -> Result<(), NotThisFormat> {
        if self.header_is_due {
            self.header(unit);
            return Ok(());
        }
        let Some(tag) = Tag::read(&mut &*unit) else {
            return Ok(());
        };
        match tag.kind {
            tag::VIDEO => self.video(tag, unit, out),
            tag::AUDIO => self.audio(tag, unit, out),
            tag::SCRIPT if metadata::is_metadata(tag.body) => {
                if !metadata::mentions_video(tag.body) {
                    self.presence.not_in_metadata();
                }
                self.configuration(tag, METADATA, unit, out)
            }
            _ => {
                self.other(tag, unit, out);
                Ok(())
            }
        }
    }

    fn header(&mut self, unit: &[u8]) {
        self.header_is_due = false;
        let flags = unit.get(4).copied().unwrap_or_default();
        // Who had no video and says again what was said then will have none.
        if self.has_video == Some(false) && flags == self.declared {
            self.presence.declared(false);
        } else {
            self.presence.declared(flags & VIDEO_FLAG != 0);
        }
        (self.declared, self.flags) = (flags, flags);
        if !self.waiting {
            self.render_opening();
        }
    }

    fn video(&mut self, tag: Tag<'_>, unit: &[u8], out: Out<'_>) -> Result<(), NotThisFormat> {
        let video = Video::parse(tag.body);
        if video.role != Role::Other {
            self.presence.video();
            self.know_video();
        }
        match video.role {
            Role::Configuration { slot } => self.configuration(tag, slot, unit, out),
            Role::Frame => {
                let dts = self.timeline.outgoing(u64::from(tag.timestamp));
                let times = Times {
                    dts,
                    pts: dts + i64::from(video.composition),
                };
                let configured =
                    !video.codec.needs_configuration() || self.configurations.has(tag::VIDEO);
                self.frame(tag::VIDEO, times, video.key && configured, unit, out);
                Ok(())
            }
            Role::Other => {
                self.other(tag, unit, out);
                Ok(())
            }
        }
    }

    fn audio(&mut self, tag: Tag<'_>, unit: &[u8], out: Out<'_>) -> Result<(), NotThisFormat> {
        let audio = Audio::parse(tag.body);
        if audio.role != Role::Other && !self.has_audio {
            self.has_audio = true;
            if !self.waiting {
                self.render_opening();
            }
        }
        match audio.role {
            Role::Configuration { slot } => self.configuration(tag, slot, unit, out),
            Role::Frame => {
                let dts = self.timeline.outgoing(u64::from(tag.timestamp));
                self.presence.audio(self.timeline.millis(dts));
                self.know_video();
                let configured =
                    !audio.codec.needs_configuration() || self.configurations.has(tag::AUDIO);
                let starts = self.has_video == Some(false) && self.presence.known() == Some(false);
                self.frame(
                    tag::AUDIO,
                    Times { dts, pts: dts },
                    starts && configured,
                    unit,
                    out,
                );
                Ok(())
            }
            Role::Other => {
                self.other(tag, unit, out);
                Ok(())
            }
        }
    }

    /// Takes over what this connection has told of its video.
    fn know_video(&mut self) {
        let known = self.presence.known().or(self.has_video);
        if known != self.has_video {
            self.has_video = known;
            if !self.waiting {
                self.render_opening();
            }
        }
    }

    /// A frame at outgoing times, which lack the shift while a key frame is waited for.
    fn frame(&mut self, kind: u8, mut times: Times, starts: bool, unit: &[u8], out: Out<'_>) {
        let track = if kind == tag::VIDEO { VIDEO } else { AUDIO };
        if self.waiting {
            if !starts {
                return;
            }
            self.begin(kind, times, out);
            times.dts += self.timeline.shift();
            times.pts += self.timeline.shift();
        }
        if track == AUDIO && self.audio_is_behind {
            let behind = self
                .timeline
                .last_of(AUDIO)
                .map_or(0, |last| 1 + last - times.dts);
            if (1..OUT_OF_STEP).contains(&behind) {
                return;
            }
            self.audio_is_behind = false;
        }
        self.timeline.sent(track, kind == tag::VIDEO, times);
        if kind == tag::VIDEO {
            self.note_silence(times.dts);
        }
        self.give(unit, times.dts, starts, true, out);
    }

    /// After a while without audio, the header for those who join stops to promise it.
    fn note_silence(&mut self, dts: i64) {
        if self.has_audio || self.flags & AUDIO_FLAG == 0 {
            return;
        }
        let since = *self.first_video.get_or_insert(dts);
        if self.timeline.millis(dts - since) >= LONG_WITHOUT_AUDIO {
            self.flags &= !AUDIO_FLAG;
            self.render_opening();
        }
    }

    /// The first frame of a new connection: fixes how its times are shifted, and sends what configuration is new.
    fn begin(&mut self, kind: u8, times: Times, out: Out<'_>) {
        self.timeline.begin(kind == tag::VIDEO, times, None);
        self.waiting = false;
        self.audio_is_behind = true;
        let dts = times.dts + self.timeline.shift();
        self.configurations.begin(dts as u32, |bytes| {
            out(Unit {
                bytes,
                starts_group: false,
                timestamp: None,
                opening: None,
            });
        });
        self.render_opening();
    }

    /// A configuration: kept for those who join, and sent; after a splice only where viewers have not got it.
    fn configuration(
        &mut self,
        tag: Tag<'_>,
        slot: u16,
        unit: &[u8],
        out: Out<'_>,
    ) -> Result<(), NotThisFormat> {
        let time = self.passing_time(tag.timestamp);
        let news = self.configurations.take(tag, slot, unit, time as u32)?;
        if self.waiting {
            return Ok(());
        }
        if news.for_opening {
            self.render_opening();
        }
        if news.for_viewers || !self.spliced {
            self.configurations.sent(tag.kind, slot);
            self.give(unit, time, false, false, out);
        }
        Ok(())
    }

    /// A tag that is neither a frame nor a configuration.
    fn other(&mut self, tag: Tag<'_>, unit: &[u8], out: Out<'_>) {
        if !self.waiting {
            let time = self.passing_time(tag.timestamp);
            self.give(unit, time, false, false, out);
        }
    }

    /// The outgoing time of a tag that is no frame. Some have timestamp 0 in the midst of a stream: after a splice
    /// that would be long ago, and the time is that of the last frame.
    fn passing_time(&self, timestamp: u32) -> i64 {
        let time = self.timeline.near(u64::from(timestamp));
        match self.timeline.last() {
            Some(last) if self.spliced => time.max(last),
            _ => time,
        }
    }

    /// Gives a tag with its outgoing time; before the first splice the tag is as it was.
    fn give(&mut self, unit: &[u8], time: i64, starts_group: bool, is_frame: bool, out: Out<'_>) {
        let mut bytes = unit;
        if self.spliced {
            self.scratch.clear();
            self.scratch.extend_from_slice(unit);
            tag::set_timestamp(&mut self.scratch, time as u32);
            bytes = &self.scratch;
        }
        out(Unit {
            bytes,
            starts_group,
            timestamp: is_frame.then(|| self.timeline.millis(time)),
            opening: starts_group.then_some(&self.opening),
        });
        if self.scratch.capacity() > MAX_SCRATCH {
            self.scratch = Vec::new();
        }
    }

    fn render_opening(&mut self) {
        let has = |flag: u8, known: Option<bool>| match known {
            Some(true) => flag,
            Some(false) => 0,
            None => self.flags & flag,
        };
        let flags =
            has(VIDEO_FLAG, self.has_video) | has(AUDIO_FLAG, self.has_audio.then_some(true));
        let mut opening = b"FLV\x01\0\0\0\0\x09\0\0\0\0".to_vec();
        opening[4] = flags;
        self.configurations.write(&mut opening);
        self.opening = opening.into();
    }
}
