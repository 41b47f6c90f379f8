//! A moment on the clock that media files use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Ticks per second of MPEG's system clock base (ISO/IEC 13818-1, 2.4.3.7).
pub const TICKS_PER_SECOND: u64 = 90_000;
/// Ticks per millisecond, the unit of FLV's timestamps.
pub const TICKS_PER_MS: u64 = TICKS_PER_SECOND / 1000;

/// Later moments are taken for this one (25 000 years from now), so that arithmetic never overflows.
const LAST: u64 = 1 << 56;

/// A moment of the wall clock in 90 kHz ticks since 1970-01-01 UTC. It does not wrap; muxers cut it
/// down to what their format holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

impl Position {
    /// The moment `ticks` after 1970 began.
    pub fn from_ticks(ticks: u64) -> Self {
        Self(ticks.min(LAST))
    }

    /// The moment that lies `time` after 1970 began, rounded down to a tick.
    pub fn from_unix(time: Duration) -> Self {
        let part = u64::from(time.subsec_nanos()) * 9 / 100_000;
        Self::from_ticks(
            time.as_secs()
                .saturating_mul(TICKS_PER_SECOND)
                .saturating_add(part),
        )
    }

    /// 90 kHz ticks since 1970.
    pub fn ticks(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since 1970.
    pub fn millis(self) -> u64 {
        self.0 / TICKS_PER_MS
    }

    /// How long after `earlier` this is; zero when it is before.
    pub fn since(self, earlier: Self) -> Duration {
        let ticks = self.0.saturating_sub(earlier.0);
        let nanos = ticks % TICKS_PER_SECOND * 100_000 / 9;
        Duration::from_secs(ticks / TICKS_PER_SECOND) + Duration::from_nanos(nanos)
    }
}

impl From<SystemTime> for Position {
    /// A clock that stands before 1970 (boards without a battery) counts as 1970.
    fn from(time: SystemTime) -> Self {
        Self::from_unix(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_second_is_90000_ticks() {
        let at = Position::from_unix(Duration::from_millis(1_764_000_000_040));
        assert_eq!(at.ticks(), 1_764_000_000_040 * 90);
        assert_eq!(at.millis(), 1_764_000_000_040);
        assert_eq!(
            Position::from(UNIX_EPOCH - Duration::from_secs(9)).ticks(),
            0
        );
        assert_eq!(Position::from_unix(Duration::MAX).ticks(), LAST);
    }

    #[test]
    fn waiting_times_are_never_negative() {
        let (early, late) = (Position::from_ticks(900_000), Position::from_ticks(903_600));
        assert_eq!(late.since(early), Duration::from_millis(40));
        assert_eq!(early.since(late), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_position_lies_within_a_tick_of_its_time(secs in 0..20_000_000_000u64, nanos in 0..1_000_000_000u32) {
            let time = Duration::new(secs, nanos);
            let back = Position::from_unix(time).since(Position::default());
            prop_assert!(back <= time && time - back < Duration::from_nanos(11_113));
        }
    }
}
