//! An epoch as proxies that share a Redis write it down: one line of text.

use crate::player::hls::timeline::{Epoch, Timeline};
use std::time::Instant;

/// The first word, which a later form of the record would change.
const FORM: &str = "1";

/// The record of a timeline: its epoch and what went out last.
pub fn write(timeline: &Timeline) -> String {
    let epoch = &timeline.epoch;
    let start = epoch
        .start
        .map_or_else(|| "-".to_owned(), |start| start.to_string());
    format!(
        "{FORM} {} {} {start} {} {} {} {} {}",
        epoch.number,
        epoch.shift,
        epoch.start_discontinuity,
        epoch.discontinuity_shift,
        timeline.last,
        timeline.last_discontinuity,
        epoch.origin,
    )
}

/// The timeline that a record tells of. `None` for what is no record: whoever may write to the Redis may write
/// anything.
pub fn read(text: &str, now: Instant) -> Option<Timeline> {
    let mut words = text.splitn(8, ' ');
    let mut word = || words.next();
    if word()? != FORM {
        return None;
    }
    let number = word()?.parse().ok()?;
    let shift = word()?.parse().ok()?;
    let start = match word()? {
        "-" => None,
        start => Some(start.parse().ok()?),
    };
    let start_discontinuity = word()?.parse().ok()?;
    let discontinuity_shift = word()?.parse().ok()?;
    let last = word()?.parse().ok()?;
    let (last_discontinuity, origin) = word()?.split_once(' ')?;
    let epoch = Epoch {
        number,
        origin: origin.into(),
        shift,
        start,
        start_discontinuity,
        discontinuity_shift,
    };
    let sane = |shift: i128| shift.unsigned_abs() <= u128::from(u64::MAX);
    let whole = (number > 0) == start.is_some() && sane(shift) && sane(discontinuity_shift);
    let last_discontinuity = last_discontinuity.parse().ok()?;
    whole.then(|| Timeline::recorded(epoch, last, last_discontinuity, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back() {
        let now = Instant::now();
        for text in [
            "1 0 0 - 0 0 1000 2 vid-1-s-2",
            "1 3 -989 1001 4 -7 1010 5 an origin's id",
            "1 3 18446744073709551615 1001 4 0 1010 5 x",
        ] {
            let timeline = read(text, now).unwrap();
            assert_eq!(write(&timeline), text);
        }
        for text in [
            "",
            "2 0 0 - 0 0 1000 2 x",
            "1 0 0 - 0 0 1000 2",
            "1 1 0 - 0 0 1000 2 x",
            "1 0 0 5 0 0 1000 2 x",
            "1 1 99999999999999999999999 5 0 0 1000 2 x",
            "1 x 0 - 0 0 1000 2 x",
            "1 0 0 - 0 0 -1 2 x",
        ] {
            assert_eq!(read(text, now), None, "{text}");
        }
    }
}
