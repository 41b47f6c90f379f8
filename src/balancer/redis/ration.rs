//! How many new names may be written to Redis: strangers make names up (`?vhost=`), and each costs every proxy of the
//! shared Redis a key for an hour.

use std::time::{Duration, Instant};

/// Names of which this is the first use: a start with that many streams at once is written down at once.
const FIRST: Bucket = Bucket::new(200, 10);
/// Names that are used again, some time after their first use: streams that somebody watches, as far as can be told.
const AGAIN: Bucket = Bucket::new(2000, 100);
/// A second use counts as one after this time; a player's requests for one picture come closer together.
const SECOND_USE: Duration = Duration::from_secs(1);

/// Lets so many names through, and more as time goes by. What is not let through is kept by this proxy alone, until
/// the name is used again.
#[derive(Debug)]
pub struct Ration {
    first: Bucket,
    again: Bucket,
}

/// A token bucket. Times are handed in.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    most: u32,
    each_second: u32,
    left: f64,
    filled: Option<Instant>,
}

impl Default for Ration {
    fn default() -> Self {
        Self {
            first: FIRST,
            again: AGAIN,
        }
    }
}

impl Ration {
    /// Whether a name may be written that was not written yet. `since` is when it was used first; `None` where that is
    /// now.
    pub fn take(&mut self, since: Option<Instant>, now: Instant) -> bool {
        let is_second =
            since.is_some_and(|since| now.saturating_duration_since(since) >= SECOND_USE);
        self.first.take(now) || (is_second && self.again.take(now))
    }
}

impl Bucket {
    const fn new(most: u32, each_second: u32) -> Self {
        Self {
            most,
            each_second,
            left: most as f64,
            filled: None,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        if let Some(filled) = self.filled {
            let time = now.saturating_duration_since(filled).as_secs_f64();
            let more = time * f64::from(self.each_second);
            self.left = (self.left + more).min(f64::from(self.most));
        }
        self.filled = Some(now);
        let is_there = self.left >= 1.0;
        if is_there {
            self.left -= 1.0;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_uses_are_few_and_second_uses_are_let_through() {
        let (mut ration, now) = (Ration::default(), Instant::now());
        let second = Duration::from_secs(1);
        let taken = (0..20_000).filter(|_| ration.take(None, now)).count();
        assert_eq!(taken, 200);
        assert!(!ration.take(Some(now), now), "the same player's next word");
        assert!(ration.take(Some(now), now + second * 2));
        let later = now + second * 4;
        let taken = (0..20_000).filter(|_| ration.take(None, later)).count();
        assert!((20..=40).contains(&taken), "{taken}");
        let taken = (0..20_000)
            .filter(|_| ration.take(Some(now), later))
            .count();
        assert!(taken <= 2000, "{taken}: names that a flood uses twice");
    }
}
