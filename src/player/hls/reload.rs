//! Low-latency reloads (RFC 8216bis section 6.2.5): what a player asks for in its numbers, asked for in the origin's.

use crate::http::query::raw_value;
use crate::player::hls::timeline::Timeline;
use std::borrow::Cow;
use std::time::Duration;

/// A directive that names a media sequence number, and holds the answer back until it is there.
const MSN: &str = "_HLS_msn";
const PART: &str = "_HLS_part";
/// Asks for a playlist without what the player knows already.
const SKIP: &str = "_HLS_skip";
/// The target duration where none is known yet.
const USUAL_TARGET: Duration = Duration::from_secs(10);

/// A target without what changes from reload to reload: what a player knows already (RFC 8216bis section 6.2.5), and
/// how it fares (CMCD).
pub fn lasting_target(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let changing = |param: &&str| param.starts_with("_HLS_") || param.starts_with("CMCD=");
    let params: Vec<&str> = query.split('&').filter(|param| !changing(param)).collect();
    format!("{path}?{}", params.join("&"))
}

/// How long an origin may hold its answer back: three target durations, and a little for the way. `None` for a request
/// that does not ask for that.
pub fn blocks(target: &str, timeline: Option<&Timeline>) -> Option<Duration> {
    raw_value(query_of(target), MSN)?;
    let target = timeline.map_or(USUAL_TARGET, |timeline| timeline.target);
    Some(3 * target + Duration::from_secs(2))
}

/// The target for the origin that is asked, whose id is `origin` where it is known.
///
/// A number of the timeline's epoch becomes the origin's own. Another origin's numbers mean nothing to this one, and a
/// player that has not seen the epoch's start must get the whole.
pub fn for_origin<'a>(
    target: &'a str,
    timeline: Option<&Timeline>,
    origin: Option<&str>,
    whole: bool,
) -> Cow<'a, str> {
    let query = query_of(target);
    let asks = [MSN, PART, SKIP].map(|name| raw_value(query, name).is_some());
    if asks == [false; 3] {
        return target.into();
    }
    let own = |timeline: &&Timeline| origin.is_none_or(|origin| *origin == *timeline.epoch.origin);
    let same = timeline.filter(own);
    let number = raw_value(query, MSN).and_then(|number| number.parse().ok());
    let shifted = match timeline {
        None => number,
        Some(_) => number.and_then(|number| same?.to_origin(number)),
    };
    let skips = !whole
        && match timeline {
            None => true,
            Some(_) => same.is_some_and(|timeline| !timeline.is_fresh()),
        };
    let params = query.split('&').filter_map(|param| {
        let name = param.split('=').next().unwrap_or_default();
        match name {
            MSN => shifted.map(|number| Cow::from(format!("{MSN}={number}"))),
            PART => shifted.map(|_| param.into()),
            SKIP => skips.then(|| param.into()),
            _ => Some(param.into()),
        }
    });
    let params: Vec<Cow<'_, str>> = params.collect();
    let path = target.split('?').next().unwrap_or_default();
    match params.is_empty() {
        true => path.into(),
        false => format!("{path}?{}", params.join("&")).into(),
    }
}

fn query_of(target: &str) -> &str {
    target.split_once('?').map_or("", |(_, query)| query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::player::hls::timeline::Epoch;
    use std::time::Instant;

    fn timeline(number: u64) -> Timeline {
        let epoch = Epoch {
            number,
            origin: "b".into(),
            shift: if number > 0 { 989 } else { 0 },
            start: (number > 0).then_some(1001),
            start_discontinuity: 0,
            discontinuity_shift: 0,
        };
        let mut timeline = Timeline::recorded(epoch, 1010, 0, Instant::now());
        timeline.target = Duration::from_secs(4);
        timeline
    }

    #[test]
    fn numbers_are_those_of_the_origin_that_is_asked() {
        let (moved, first) = (timeline(1), timeline(0));
        let all = "/a.m3u8?t=1&_HLS_msn=1011&_HLS_part=2&_HLS_skip=YES";
        let rows = [
            (
                all,
                Some(&moved),
                Some("b"),
                false,
                "/a.m3u8?t=1&_HLS_msn=22&_HLS_part=2",
            ),
            (all, Some(&moved), Some("c"), false, "/a.m3u8?t=1"),
            (all, Some(&first), Some("b"), false, all),
            (all, Some(&first), None, false, all),
            (
                all,
                Some(&first),
                Some("b"),
                true,
                "/a.m3u8?t=1&_HLS_msn=1011&_HLS_part=2",
            ),
            (all, None, Some("b"), false, all),
            (
                "/a.m3u8?_HLS_msn=1000",
                Some(&moved),
                Some("b"),
                false,
                "/a.m3u8",
            ),
            (
                "/a.m3u8?_HLS_msn=x",
                Some(&moved),
                Some("b"),
                false,
                "/a.m3u8",
            ),
            (
                "/a.m3u8?_HLS_skip=YES",
                Some(&first),
                Some("c"),
                false,
                "/a.m3u8",
            ),
            ("/a.m3u8?t=1", Some(&moved), Some("c"), false, "/a.m3u8?t=1"),
            ("/a.m3u8", None, None, false, "/a.m3u8"),
        ];
        for (target, timeline, origin, whole, expected) in rows {
            assert_eq!(
                for_origin(target, timeline, origin, whole),
                expected,
                "{target} {origin:?}"
            );
        }
    }

    #[test]
    fn a_blocking_reload_has_three_target_durations() {
        let blocking = |target, timeline: Option<&Timeline>| {
            blocks(target, timeline).map(|time| time.as_secs())
        };
        assert_eq!(blocking("/a.m3u8?_HLS_msn=1", None), Some(32));
        assert_eq!(blocking("/a.m3u8?_HLS_msn=1", Some(&timeline(0))), Some(14));
        assert_eq!(blocking("/a.m3u8?_HLS_skip=YES", None), None);
        assert_eq!(blocking("/a.m3u8", None), None);
    }
}
