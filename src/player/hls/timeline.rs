//! The timeline of a media playlist: numbers that go on when the playlist's origin changes or starts anew.
//!
//! Origins number their segments each for itself, so that a stream which moves, or whose origin restarts, would jump
//! from 1000 to 12. `EXT-X-MEDIA-SEQUENCE` must not decrease (RFC 8216 section 6.2.2): hls.js stalls, ExoPlayer
//! gives up. A [`Timeline`] knows what went out last. While the origin goes on as before, a playlist stays as it is,
//! byte for byte. When it does not, a new **epoch** begins: the new playlist's first segment gets the number after
//! the last one that went out, with `EXT-X-DISCONTINUITY` before it.
//!
//! Everything here is pure: [`next`] takes an origin's playlist, the origin's id and the time, and gives the new
//! state and how the playlist is to be written ([`write::write`]).

pub mod media;
pub mod record;
pub mod write;

use crate::player::hls::timeline::media::{MAX_NAMES, MediaPlaylist, name};
use crate::stream::origin_id::OriginId;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// An answer that is so many segments behind, and agrees with what went out, is an older one of the same
/// publication, from a cache or a slower thread, and no new beginning.
const MAX_BEHIND: i128 = 3;

/// An origin answers players before its first heartbeat tells of its restart: SRS beats each 9 s. For this long a new
/// id of the same server is taken for the late word of a start that the playlist has told already.
const LATE_WORD: Duration = Duration::from_secs(30);

/// What an epoch is: one origin's numbers, and how they are changed. Proxies that share a Redis share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// 0 until the first change.
    pub number: u64,
    /// Whose playlists these are.
    pub origin: OriginId,
    /// What is added to the origin's media sequence numbers.
    pub shift: i128,
    /// The number of the epoch's first segment, as it goes out; the tag stands before it. `None` in epoch 0.
    pub start: Option<u64>,
    /// `EXT-X-DISCONTINUITY-SEQUENCE` as it goes out while the first segment of the epoch is in the playlist.
    pub start_discontinuity: u64,
    /// What is added to the origin's discontinuity sequence once that segment has left.
    pub discontinuity_shift: i128,
}

impl Epoch {
    /// What tells this epoch's files from earlier ones of the same name, in session ids: `None` before the first
    /// change. The same on all proxies; another one after a restart of this proxy, for the origin's id is in it.
    pub fn tag(&self) -> Option<String> {
        (self.number > 0).then(|| {
            let mut hasher = DefaultHasher::new();
            (self.number, &self.origin).hash(&mut hasher);
            format!("{:x}", hasher.finish() & 0xFFFF_FFFF)
        })
    }
}

/// What went out of one media playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    pub epoch: Epoch,
    /// When the epoch's first playlist came. What was asked for earlier knows nothing of it.
    began: Instant,
    /// The highest number that went out, also where only parts of that segment did.
    pub last: u64,
    /// The discontinuity number of what went out last.
    pub last_discontinuity: u64,
    /// `EXT-X-MEDIA-SEQUENCE` and `EXT-X-DISCONTINUITY-SEQUENCE` of the newest playlist that went out.
    first: u64,
    discontinuity: u64,
    /// Hashes of the names of the segments up to number `named_to`.
    names: VecDeque<u32>,
    named_to: u64,
    /// When a segment came last that had not gone out before.
    pub news: Instant,
    /// The newest playlist's.
    pub target: Duration,
}

/// An answer of an origin.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The origin's id, which changes with its restart.
    pub origin: &'a OriginId,
    /// When it was asked.
    pub asked: Instant,
    /// When it answered.
    pub now: Instant,
}

/// How a playlist goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// `EXT-X-MEDIA-SEQUENCE`.
    pub first: u64,
    /// `EXT-X-DISCONTINUITY-SEQUENCE`.
    pub discontinuity: u64,
    /// What was added to the origin's numbers.
    pub shift: i128,
    /// Segments to leave out at the front: their numbers have gone out for others.
    pub drop: u64,
    /// `EXT-X-DISCONTINUITY` has to stand before the first segment.
    pub mark: bool,
    /// The epoch's tag for session ids.
    pub tag: Option<String>,
}

/// What is to be done with an origin's playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is nothing to be remembered: it goes out as it is.
    Untouched,
    /// It goes out by this mapping.
    Goes {
        timeline: Box<Timeline>,
        mapping: Mapping,
        /// A new epoch has begun with it.
        changed: bool,
    },
    /// It is older than what went out. What went out last is to go out again, or the origin to be asked again.
    Outdated,
    /// It has no segment yet. What went out last is to go out again.
    Empty,
    /// It leaves segments out that the player cannot know (`EXT-X-SKIP`): the origin has to be asked for the whole.
    Skips,
}

/// What a playlist means after `before`, the timeline as it was; `None` where nothing went out yet.
pub fn next(before: Option<&Timeline>, seen: &Seen<'_>, list: &MediaPlaylist) -> Step {
    let Some(before) = before else {
        // What has ended was there from the start, and nothing will change in it.
        if list.ended || list.count == 0 {
            return Step::Untouched;
        }
        return goes(begin(seen, list), list, seen, false).unwrap_or(Step::Untouched);
    };
    if list.count == 0 {
        return Step::Empty;
    }
    if *seen.origin != before.epoch.origin {
        // Two players' requests at two origins that overlapped: the first answer has decided.
        if seen.asked <= before.began {
            return Step::Outdated;
        }
        if before.is_named_anew(seen, list) {
            let mut known = before.clone();
            known.epoch.origin = seen.origin.clone();
            return go_on(&known, known.epoch.shift, seen, list);
        }
        return change(before, seen, list);
    }
    if before.epoch.number > 0 && seen.asked < before.began {
        return Step::Outdated;
    }
    let shift = before.epoch.shift;
    match before.compare(list, shift, seen.now) {
        Comparison::Forward => go_on(before, shift, seen, list),
        Comparison::Behind => Step::Outdated,
        Comparison::Anew => match before.aligned(list) {
            // The same files under other numbers: each keeps the number that it went out with.
            Some(shift) if list.last() + shift >= i128::from(before.named_to) => {
                go_on(before, shift, seen, list)
            }
            Some(_) => Step::Outdated,
            None => change(before, seen, list),
        },
    }
}

enum Comparison {
    /// It goes on from what went out.
    Forward,
    /// It is an older one.
    Behind,
    /// It has nothing to do with what went out.
    Anew,
}

impl Timeline {
    fn compare(&self, list: &MediaPlaylist, shift: i128, now: Instant) -> Comparison {
        let last = list.last() + shift;
        let behind = i128::from(self.named_to) - last;
        match self.agrees(list, shift) {
            Some(false) => Comparison::Anew,
            None if self.jumps(list, shift, now) => Comparison::Anew,
            _ if behind <= 0 => Comparison::Forward,
            Some(true) if behind <= MAX_BEHIND => Comparison::Behind,
            // Nothing is known of the names, as after a restart of this proxy: another proxy was ahead.
            None if self.names.is_empty() && behind <= MAX_BEHIND => Comparison::Forward,
            // A recording window that was asked for by a query of its own ends where the live one does.
            _ => Comparison::Anew,
        }
    }

    /// Whether the list is so far ahead that no publication can have come there in the time: an origin that has started
    /// anew, with higher numbers. Twice as fast as real time is granted, and, for what went out may have come from a
    /// cache, three target durations and a window.
    fn jumps(&self, list: &MediaPlaylist, shift: i128, now: Instant) -> bool {
        let new = u32::try_from(list.last() + shift - i128::from(self.named_to));
        let (Ok(new), false) = (new, self.names.is_empty()) else {
            return false;
        };
        let time = now.saturating_duration_since(self.news);
        let segment = list.segment_duration();
        let window = segment.saturating_mul(u32::try_from(list.count).unwrap_or(u32::MAX));
        segment.saturating_mul(new) > (2 * time + 3 * list.target).saturating_add(window)
    }

    /// Whether the list goes on as before, and only the origin's id is new: the heartbeat after a start comes late.
    fn is_named_anew(&self, seen: &Seen<'_>, list: &MediaPlaylist) -> bool {
        let young = seen.now.saturating_duration_since(self.began) < LATE_WORD;
        let shift = self.epoch.shift;
        young
            && self.epoch.origin.is_same_server(seen.origin)
            && self.agrees(list, shift) == Some(true)
            && list.last() + shift >= i128::from(self.named_to)
    }

    /// Whether the names that the list and the memory both have are the same under the same numbers; `None` where
    /// they have no number in common.
    fn agrees(&self, list: &MediaPlaylist, shift: i128) -> Option<bool> {
        let mut common = None;
        for (number, name) in list.named() {
            if let Some(known) = self.name_of(number + shift) {
                if known != name {
                    return Some(false);
                }
                common = Some(true);
            }
        }
        common
    }

    fn name_of(&self, number: i128) -> Option<u32> {
        let from_the_end = i128::from(self.named_to) - number;
        let index = self.names.len() as i128 - 1 - from_the_end;
        self.names.get(usize::try_from(index).ok()?).copied()
    }

    /// The shift by which the list's names are those that went out, where that is beyond doubt: at least two in a
    /// row, and no name twice.
    fn aligned(&self, list: &MediaPlaylist) -> Option<i128> {
        let (number, name) = list.named().next()?;
        let mut places = self.names.iter().enumerate().filter(|(_, it)| **it == name);
        let (index, _) = places.next()?;
        if places.next().is_some() || self.names.len() - index < 2 {
            return None;
        }
        let oldest = i128::from(self.named_to) + 1 - self.names.len() as i128;
        let shift = oldest + index as i128 - number;
        (list.count > 1 && self.agrees(list, shift) == Some(true)).then_some(shift)
    }

    /// The origin's media sequence number for one that went out in this epoch; `None` for one of an earlier epoch, and
    /// one that the origin cannot have.
    pub fn to_origin(&self, number: u64) -> Option<u64> {
        if self.epoch.start.is_some_and(|start| number < start) {
            return None;
        }
        u64::try_from(i128::from(number) - self.epoch.shift).ok()
    }

    /// Whether the start of an epoch may still be in players' playlists: they must not be answered with less than
    /// the whole then.
    pub fn is_fresh(&self) -> bool {
        self.epoch.start.is_some_and(|start| self.first <= start)
    }

    /// Whether a segment has the name of that URI.
    pub fn lists(&self, uri: &[u8]) -> bool {
        self.names.contains(&name(uri))
    }

    /// How long what went out last makes sense: three target durations (RFC 8216 section 6.3.4 has players try again
    /// after half of one) from when something new was in it.
    pub fn lasts_until(&self) -> Instant {
        self.news + 3 * self.target
    }

    /// The timeline that another proxy has written down, of which nothing has gone out here.
    pub fn recorded(epoch: Epoch, last: u64, last_discontinuity: u64, now: Instant) -> Self {
        Self {
            epoch,
            began: now,
            last,
            last_discontinuity,
            first: 0,
            discontinuity: 0,
            names: VecDeque::new(),
            named_to: last,
            news: now,
            target: Duration::ZERO,
        }
    }

    /// Takes over what other proxies say has gone out.
    pub fn raise(&mut self, last: u64, last_discontinuity: u64) {
        self.last = self.last.max(last);
        self.last_discontinuity = self.last_discontinuity.max(last_discontinuity);
    }

    /// The bytes of memory that it takes, roughly.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.names.len() * size_of::<u32>() + self.epoch.origin.len()
    }
}

fn begin(seen: &Seen<'_>, list: &MediaPlaylist) -> Timeline {
    let epoch = Epoch {
        number: 0,
        origin: seen.origin.clone(),
        shift: 0,
        start: None,
        start_discontinuity: 0,
        discontinuity_shift: 0,
    };
    let mut timeline = Timeline::recorded(epoch, 0, 0, seen.now);
    timeline.named_to = u64::try_from(list.last()).unwrap_or(0);
    timeline
}

/// The next epoch.
fn change(before: &Timeline, seen: &Seen<'_>, list: &MediaPlaylist) -> Step {
    if list.skipped > 0 {
        return Step::Skips;
    }
    let Some(start) = before.last.checked_add(1) else {
        return Step::Untouched; // the numbers are used up
    };
    let own_tags = list.discontinuity + list.tags_before_first;
    let epoch = Epoch {
        number: before.epoch.number + 1,
        origin: seen.origin.clone(),
        shift: i128::from(start) - i128::from(list.first),
        start: Some(start),
        start_discontinuity: before.last_discontinuity,
        // The first segment is the next discontinuity, however many tags its origin has before it.
        discontinuity_shift: i128::from(before.last_discontinuity) + 1 - i128::from(own_tags),
    };
    let timeline = Timeline {
        epoch,
        began: seen.now,
        names: VecDeque::new(),
        ..before.clone()
    };
    goes(timeline, list, seen, true).unwrap_or(Step::Untouched)
}

fn go_on(before: &Timeline, shift: i128, seen: &Seen<'_>, list: &MediaPlaylist) -> Step {
    let mut timeline = before.clone();
    timeline.epoch.shift = shift;
    let start = before.epoch.start.map_or(0, i128::from);
    if i128::from(list.first) + shift < start && list.skipped > 0 {
        return Step::Skips;
    }
    if list.last() + shift < start {
        return Step::Outdated;
    }
    goes(timeline, list, seen, false).unwrap_or(Step::Untouched)
}

/// The list goes out; `timeline` has what was known before, with the epoch that counts. `None` where its numbers
/// do not fit into 64 bits.
fn goes(
    mut timeline: Timeline,
    list: &MediaPlaylist,
    seen: &Seen<'_>,
    changed: bool,
) -> Option<Step> {
    let epoch = &timeline.epoch;
    let shift = epoch.shift;
    let listed = i128::from(list.first) + shift;
    let begins = listed.max(epoch.start.map_or(listed, i128::from));
    let drop = u64::try_from(begins - listed).ok()?;
    let first = u64::try_from(begins).ok()?;
    let named_to = u64::try_from(list.last() + shift).ok()?;
    let last = named_to.checked_add(u64::from(list.partial))?;
    let starts = epoch.start == Some(first);
    let (mut discontinuity, tags) = if starts {
        // Tags before the first segment are put together into the one that stands for all.
        let before_first = list.tags_before(drop);
        (epoch.start_discontinuity, 1 + list.tags - before_first)
    } else {
        let own = i128::from(list.discontinuity) + epoch.discontinuity_shift;
        (u64::try_from(own).ok()?, list.tags)
    };
    if epoch.number > 0 && first >= timeline.first {
        discontinuity = discontinuity.max(timeline.discontinuity);
    }
    let mapping = Mapping {
        first,
        discontinuity,
        shift,
        drop,
        mark: starts && list.skipped == 0,
        tag: epoch.tag(),
    };
    if changed || named_to > timeline.named_to || timeline.names.is_empty() {
        timeline.news = seen.now;
    }
    if changed || last >= timeline.last {
        timeline.last = timeline.last.max(last);
        let reached = discontinuity.checked_add(tags)?;
        timeline.last_discontinuity = timeline.last_discontinuity.max(reached);
    }
    timeline.first = timeline.first.max(first);
    timeline.discontinuity = timeline.discontinuity.max(discontinuity);
    timeline.remember(list, named_to, changed);
    timeline.target = list.target;
    Some(Step::Goes {
        timeline: Box::new(timeline),
        mapping,
        changed,
    })
}

impl Timeline {
    fn remember(&mut self, list: &MediaPlaylist, named_to: u64, changed: bool) {
        let new = match changed {
            true => u64::MAX,
            false => named_to.saturating_sub(self.named_to),
        };
        let names: Vec<u32> = list.named().map(|(_, name)| name).collect();
        if self.names.is_empty() || new >= names.len() as u64 {
            self.names = names.into();
        } else if new > 0 {
            self.names.extend(&names[names.len() - new as usize..]);
        } else {
            return;
        }
        let over = self.names.len().saturating_sub(MAX_NAMES);
        self.names.drain(..over);
        self.named_to = named_to;
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
