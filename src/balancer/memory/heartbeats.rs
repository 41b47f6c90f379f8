//! When an origin was heard of last, and how often it is heard of.

use std::time::{Duration, Instant};

/// Pauses between heartbeats that the interval is learnt from: a few that come close together, as after a restart or
/// through two proxies, must not make an origin late soon after.
const LEARNT_FROM: usize = 3;
/// Heartbeats that may be missed before an origin is late.
const MISSED: u32 = 4;
/// The shortest interval that is believed: SRS beats every few seconds.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The heartbeats of one origin.
#[derive(Debug, Clone)]
pub(super) struct Heartbeats {
    last: Instant,
    /// The last pauses between two, in any order.
    pauses: [Option<Duration>; LEARNT_FROM],
    next: usize,
}

impl Heartbeats {
    /// A first heartbeat at that moment.
    pub fn new(at: Instant) -> Self {
        Self {
            last: at,
            pauses: [None; LEARNT_FROM],
            next: 0,
        }
    }

    /// A further heartbeat, of the same process of the origin.
    pub fn beat(&mut self, at: Instant) {
        self.pauses[self.next] = Some(at.saturating_duration_since(self.last));
        self.next = (self.next + 1) % LEARNT_FROM;
        self.last = at;
    }

    /// A heartbeat of another process of the origin: the pause before it says nothing of the interval.
    pub fn restart(&mut self, at: Instant) {
        self.last = at;
    }

    /// When the last heartbeat came.
    pub fn last(&self) -> Instant {
        self.last
    }

    /// Time since the last heartbeat.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last)
    }

    /// Whether four heartbeats in a row are missing. Never before the interval is known, which takes four heartbeats.
    pub fn is_late(&self, now: Instant) -> bool {
        let interval = |longest: Duration, pause: &Option<Duration>| Some(longest.max((*pause)?));
        let interval = self.pauses.iter().try_fold(MIN_INTERVAL, interval);
        interval.is_some_and(|interval| self.age(now) > interval.saturating_mul(MISSED))
    }

    /// Makes the last heartbeat so much older.
    #[cfg(test)]
    pub fn age_by(&mut self, by: Duration) {
        self.last = self.last.checked_sub(by).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Heartbeats at those seconds; gives when the origin is late, in seconds after the last, if ever.
    fn late_after(seconds: &[u32]) -> Option<u32> {
        let start = Instant::now();
        let mut beats = Heartbeats::new(start + SECOND * seconds[0]);
        for at in &seconds[1..] {
            beats.beat(start + SECOND * *at);
        }
        (0..300).find(|after| beats.is_late(beats.last() + SECOND * *after))
    }

    #[test]
    fn the_interval_is_learnt_and_four_missed_are_late() {
        for (beats, late) in [
            (&[0][..], None),
            (&[0, 9], None),
            (&[0, 9, 18], None),
            (&[0, 9, 18, 27], Some(37)),
            (&[0, 9, 18, 27, 39], Some(49)), // the longest of the last pauses counts
            (&[0, 9, 10, 11, 12, 13], Some(5)), // an interval may become shorter
            (&[0, 0, 0, 0, 0], Some(5)),     // no interval is shorter than a second
            (&[0, 0, 0, 30], Some(121)),
        ] {
            assert_eq!(late_after(beats), late, "{beats:?}");
        }
    }
}
