//! The pins: which origin each stream was last served from. Bounded, and forgetful.

use crate::media::format::Format;
use crate::stream::url::StreamUrl;
use std::collections::HashMap;
use std::mem;
use std::time::{Duration, Instant};

/// Streams that are remembered at least, where their names are no longer than 32 bytes; at most twice as many.
const GENERATION: usize = 100_000;
/// Bytes that a generation takes at most: what 100 000 usual names take. With the longest names, which only
/// strangers make up, that are 14 000 streams; by number alone it would be 220 MB.
const GENERATION_BYTES: usize = GENERATION * (PIN_BYTES + 32);
/// What a pin takes besides the name's text: key and value in a table that is two thirds full, the text's counters,
/// and what the allocator adds.
const PIN_BYTES: usize = 128;
/// A pin that nobody used for this long is gone.
pub const PIN_TIME: Duration = Duration::from_secs(3600);

/// An origin's place in the table. It outlives restarts of the origin.
pub type OriginSlot = u64;

/// The format of the request whose answer made a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinFormat {
    Playlist,
    /// A live stream. `None`: in no format that is known here.
    Live(Option<Format>),
}

/// What came of unpinning a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpinned {
    /// The stream is not pinned there, or not any more.
    Yes,
    /// The pin stays, for nobody knows by which format it was made: it may be moved, not taken away.
    FormatUnknown,
    /// The pin stays, for another format made it: a stranger's `.mp3` must not move the viewers of the `.flv`.
    OtherFormat,
}

#[derive(Debug, Clone, Copy)]
struct Pin {
    slot: OriginSlot,
    /// `None` where another proxy made the pin.
    format: Option<PinFormat>,
    used: Instant,
}

/// Pins in two generations: what is used moves to the young one; when that is full the old one goes,
/// and with it what has not been used for longest.
#[derive(Debug, Default)]
pub struct Pins {
    young: HashMap<StreamUrl, Pin>,
    /// What the young generation takes, in bytes.
    young_bytes: usize,
    old: HashMap<StreamUrl, Pin>,
    streams: HashMap<OriginSlot, usize>,
}

impl Pins {
    /// The slot that a stream is pinned to; looking renews it.
    pub fn get(&mut self, stream: &StreamUrl, now: Instant) -> Option<OriginSlot> {
        let pin = match self.young.get_mut(stream) {
            Some(pin) if now.saturating_duration_since(pin.used) < PIN_TIME => {
                pin.used = now;
                return Some(pin.slot);
            }
            Some(_) => None,
            None => self.old.get(stream).copied(),
        };
        match pin {
            Some(pin) if now.saturating_duration_since(pin.used) < PIN_TIME => {
                self.set(stream, pin.slot, pin.format, now);
                Some(pin.slot)
            }
            _ => {
                self.remove(stream);
                None
            }
        }
    }

    /// Pins a stream. A pin that is there already keeps the format that made it, where that is known.
    pub fn set(
        &mut self,
        stream: &StreamUrl,
        slot: OriginSlot,
        format: Option<PinFormat>,
        now: Instant,
    ) {
        if let Some(pin) = self.young.get_mut(stream)
            && pin.slot == slot
        {
            pin.format = pin.format.or(format);
            pin.used = now;
            return;
        }
        let before = self.old.get(stream).filter(|pin| pin.slot == slot);
        let format = before.and_then(|pin| pin.format).or(format);
        self.remove(stream);
        let bytes = bytes_of(stream);
        if self.young.len() >= GENERATION || self.young_bytes + bytes > GENERATION_BYTES {
            let gone = mem::replace(&mut self.old, mem::take(&mut self.young));
            self.young_bytes = 0;
            for pin in gone.values() {
                self.uncount(pin.slot);
            }
        }
        let pin = Pin {
            slot,
            format,
            used: now,
        };
        self.young.insert(stream.clone(), pin);
        self.young_bytes += bytes;
        *self.streams.entry(slot).or_default() += 1;
    }

    /// Unpins a stream from that slot, where a request in that format made the pin.
    pub fn remove_format(
        &mut self,
        stream: &StreamUrl,
        slot: OriginSlot,
        format: PinFormat,
    ) -> Unpinned {
        let pin = self.young.get(stream).or_else(|| self.old.get(stream));
        match pin {
            Some(pin) if pin.slot != slot => Unpinned::Yes,
            None => Unpinned::Yes,
            Some(pin) => match pin.format {
                None => Unpinned::FormatUnknown,
                Some(made_by) if made_by != format => Unpinned::OtherFormat,
                Some(_) => {
                    self.remove(stream);
                    Unpinned::Yes
                }
            },
        }
    }

    /// Unpins a stream.
    pub fn remove(&mut self, stream: &StreamUrl) {
        // It may be in one of the two, never in both.
        if let Some(pin) = self.young.remove(stream) {
            self.young_bytes -= bytes_of(stream);
            self.uncount(pin.slot);
        } else if let Some(pin) = self.old.remove(stream) {
            self.uncount(pin.slot);
        }
    }

    /// How many streams are pinned to that slot.
    pub fn streams(&self, slot: OriginSlot) -> usize {
        self.streams.get(&slot).copied().unwrap_or(0)
    }

    /// Forgets all pins to a slot.
    pub fn forget(&mut self, slot: OriginSlot) {
        let bytes = &mut self.young_bytes;
        self.young.retain(|stream, pin| {
            let stays = pin.slot != slot;
            *bytes -= if stays { 0 } else { bytes_of(stream) };
            stays
        });
        self.old.retain(|_, pin| pin.slot != slot);
        self.streams.remove(&slot);
    }

    /// How many streams are pinned.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// All streams and their slots.
    pub fn all(&self) -> impl Iterator<Item = (&StreamUrl, OriginSlot)> {
        let both = self.young.iter().chain(&self.old);
        both.map(|(stream, pin)| (stream, pin.slot))
    }

    fn uncount(&mut self, slot: OriginSlot) {
        if let Some(count) = self.streams.get_mut(&slot) {
            *count -= 1;
            if *count == 0 {
                self.streams.remove(&slot);
            }
        }
    }
}

/// The bytes that the pin of a stream takes, roughly.
fn bytes_of(stream: &StreamUrl) -> usize {
    PIN_BYTES + stream.as_str().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> StreamUrl {
        StreamUrl::parse(&format!("__defaultVhost__/live/{name}")).unwrap()
    }

    #[test]
    fn pins_hold_move_and_go() {
        let (mut pins, now) = (Pins::default(), Instant::now());
        pins.set(&stream("a"), 1, None, now);
        pins.set(&stream("b"), 1, None, now);
        assert_eq!((pins.get(&stream("a"), now), pins.streams(1)), (Some(1), 2));
        pins.set(&stream("a"), 2, None, now);
        assert_eq!((pins.streams(1), pins.streams(2)), (1, 1));
        pins.remove(&stream("b"));
        assert_eq!((pins.get(&stream("b"), now), pins.streams(1)), (None, 0));
        pins.forget(2);
        assert_eq!(pins.len(), 0);
    }

    #[test]
    fn only_the_format_that_made_a_pin_takes_it_away() {
        let (mut pins, now) = (Pins::default(), Instant::now());
        let [flv, mp3] = [Format::Flv, Format::Mp3].map(|it| PinFormat::Live(Some(it)));
        pins.set(&stream("a"), 1, Some(flv), now);
        pins.set(&stream("a"), 1, Some(mp3), now);
        for (slot, format, expected) in [
            (2, flv, Unpinned::Yes),
            (1, mp3, Unpinned::OtherFormat),
            (1, PinFormat::Playlist, Unpinned::OtherFormat),
        ] {
            assert_eq!(pins.remove_format(&stream("a"), slot, format), expected);
            assert_eq!(pins.get(&stream("a"), now), Some(1), "{format:?}");
        }
        assert_eq!(pins.remove_format(&stream("a"), 1, flv), Unpinned::Yes);
        assert_eq!(pins.get(&stream("a"), now), None);
        pins.set(&stream("a"), 1, None, now);
        let unknown = pins.remove_format(&stream("a"), 1, flv);
        assert_eq!(unknown, Unpinned::FormatUnknown);
        assert_eq!(pins.get(&stream("a"), now), Some(1), "another proxy's");
    }

    #[test]
    fn unused_pins_expire_and_used_ones_do_not() {
        let (mut pins, now) = (Pins::default(), Instant::now());
        pins.set(&stream("a"), 1, None, now);
        pins.set(&stream("b"), 1, None, now);
        let later = now + PIN_TIME - Duration::from_secs(1);
        assert_eq!(pins.get(&stream("a"), later), Some(1));
        let end = now + PIN_TIME + Duration::from_secs(1);
        assert_eq!(pins.get(&stream("a"), end), Some(1));
        assert_eq!(pins.get(&stream("b"), end), None);
        assert_eq!(pins.streams(1), 1);
    }

    #[test]
    fn they_are_bounded_and_the_used_ones_stay() {
        let (mut pins, now) = (Pins::default(), Instant::now());
        let kept = stream("kept");
        pins.set(&kept, 7, None, now);
        for n in 0..GENERATION * 3 {
            pins.set(&stream(&n.to_string()), 1, None, now);
            if n % 1000 == 0 {
                assert_eq!(pins.get(&kept, now), Some(7));
            }
        }
        assert!(pins.len() <= 2 * GENERATION);
        assert_eq!(pins.streams(1) + pins.streams(7), pins.len());
        assert_eq!(
            pins.get(&stream(&(GENERATION * 3 - 1).to_string()), now),
            Some(1)
        );
        assert_eq!(pins.get(&stream("0"), now), None);
    }

    #[test]
    fn long_names_are_bounded_by_bytes() {
        let (mut pins, now) = (Pins::default(), Instant::now());
        let kept = stream("kept");
        pins.set(&kept, 7, None, now);
        let long = "x".repeat(900);
        let bytes = |pins: &Pins| -> usize { pins.all().map(|(it, _)| bytes_of(it)).sum() };
        for n in 0..60_000 {
            pins.set(&stream(&format!("{long}{n}")), 1, None, now);
            if n % 1000 == 0 {
                assert!(bytes(&pins) <= 2 * GENERATION_BYTES, "{n}");
                assert_eq!(pins.get(&kept, now), Some(7), "{n}");
            }
        }
        assert!(pins.len() < 40_000, "{}", pins.len());
        assert_eq!(pins.streams(1) + pins.streams(7), pins.len());
        pins.forget(1);
        assert_eq!((pins.len(), pins.get(&kept, now)), (1, Some(7)));
        assert!(pins.young_bytes <= bytes_of(&kept));
    }
}
