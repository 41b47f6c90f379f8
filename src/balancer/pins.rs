//! The pins: which origin each stream was last served from. Bounded, and forgetful.

use crate::stream::url::StreamUrl;
use std::collections::HashMap;
use std::mem;
use std::time::{Duration, Instant};

/// Streams that are remembered at least; at most twice as many.
const GENERATION: usize = 100_000;
/// A pin that nobody used for this long is gone.
pub const PIN_TIME: Duration = Duration::from_secs(3600);

/// An origin's place in the table. It outlives restarts of the origin.
pub type OriginSlot = u64;

#[derive(Debug, Clone, Copy)]
struct Pin {
    slot: OriginSlot,
    used: Instant,
}

/// Pins in two generations: what is used moves to the young one; when that is full the old one goes,
/// and with it what has not been used for longest.
#[derive(Debug, Default)]
pub struct Pins {
    young: HashMap<StreamUrl, Pin>,
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
                self.set(stream, pin.slot, now);
                Some(pin.slot)
            }
            _ => {
                self.remove(stream);
                None
            }
        }
    }

    /// Pins a stream.
    pub fn set(&mut self, stream: &StreamUrl, slot: OriginSlot, now: Instant) {
        if let Some(pin) = self.young.get_mut(stream)
            && pin.slot == slot
        {
            pin.used = now;
            return;
        }
        self.remove(stream);
        if self.young.len() >= GENERATION {
            let gone = mem::replace(&mut self.old, mem::take(&mut self.young));
            for pin in gone.values() {
                self.uncount(pin.slot);
            }
        }
        self.young.insert(stream.clone(), Pin { slot, used: now });
        *self.streams.entry(slot).or_default() += 1;
    }

    /// Unpins a stream.
    pub fn remove(&mut self, stream: &StreamUrl) {
        // It may be in one of the two, never in both.
        if let Some(pin) = self
            .young
            .remove(stream)
            .or_else(|| self.old.remove(stream))
        {
            self.uncount(pin.slot);
        }
    }

    /// How many streams are pinned to that slot.
    pub fn streams(&self, slot: OriginSlot) -> usize {
        self.streams.get(&slot).copied().unwrap_or(0)
    }

    /// Forgets all pins to a slot.
    pub fn forget(&mut self, slot: OriginSlot) {
        self.young.retain(|_, pin| pin.slot != slot);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> StreamUrl {
        StreamUrl::parse(&format!("__defaultVhost__/live/{name}")).unwrap()
    }

    #[test]
    fn pins_hold_move_and_go() {
        let (mut pins, now) = (Pins::default(), Instant::now());
        pins.set(&stream("a"), 1, now);
        pins.set(&stream("b"), 1, now);
        assert_eq!((pins.get(&stream("a"), now), pins.streams(1)), (Some(1), 2));
        pins.set(&stream("a"), 2, now);
        assert_eq!((pins.streams(1), pins.streams(2)), (1, 1));
        pins.remove(&stream("b"));
        assert_eq!((pins.get(&stream("b"), now), pins.streams(1)), (None, 0));
        pins.forget(2);
        assert_eq!(pins.len(), 0);
    }

    #[test]
    fn unused_pins_expire_and_used_ones_do_not() {
        let (mut pins, now) = (Pins::default(), Instant::now());
        pins.set(&stream("a"), 1, now);
        pins.set(&stream("b"), 1, now);
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
        pins.set(&kept, 7, now);
        for n in 0..GENERATION * 3 {
            pins.set(&stream(&n.to_string()), 1, now);
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
}
