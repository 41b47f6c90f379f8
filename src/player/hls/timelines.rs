//! The timelines of all playlists that go out here: bounded, forgetful, and shared with other proxies.

use crate::balancer::Balancer;
use crate::player::hls::timeline::media::MediaPlaylist;
use crate::player::hls::timeline::{Seen, Step, Timeline, next, record};
use crate::stream::origin_id::OriginId;
use crate::stream::url::StreamUrl;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of the generation of streams that were used last; there are at most two.
const GENERATION: usize = 8 << 20;
/// Playlists of one stream that have a timeline.
const MAX_PATHS: usize = 64;
/// Epochs of one stream whose origin is remembered, for segments that are asked for late.
const MAX_EPOCHS: usize = 8;
/// A stream that nobody asked for in this time is forgotten, as its pin is.
const LIFE: Duration = Duration::from_secs(3600);
/// What other proxies have written down is looked at this often.
const LOOK: Duration = Duration::from_secs(5);
/// How often a step is taken anew when others are quicker.
const MAX_TURNS: usize = 4;
/// Longest path whose timeline is shared, in bytes: the key in Redis has it.
const MAX_SHARED_PATH: usize = 1024;

/// All timelines; one for the process. Its lock guards memory only and is never held while Redis is asked.
#[derive(Debug, Default)]
pub struct Timelines {
    table: Mutex<Table>,
}

/// Streams in two generations: what is used moves to the young one; when that is full the old one goes.
#[derive(Debug, Default)]
struct Table {
    young: HashMap<StreamUrl, StreamLines>,
    old: HashMap<StreamUrl, StreamLines>,
    /// Bytes of the young ones, roughly; what grows in place is counted at its next move.
    bytes: usize,
}

/// A stream's timelines.
#[derive(Debug)]
struct StreamLines {
    used: Instant,
    paths: Vec<Line>,
    /// The origins of the epochs, by the epoch's tag; the newest last.
    epochs: VecDeque<(Option<String>, OriginId)>,
}

/// One playlist's timeline.
#[derive(Debug)]
struct Line {
    path: Arc<str>,
    timeline: Timeline,
    /// Changes with each change of the timeline.
    version: u64,
    /// The record as other proxies know it, as far as this one knows.
    written: Option<String>,
    /// When the record was looked at.
    looked: Instant,
}

impl Timelines {
    /// The timeline of the playlist at `path`, as it is now.
    pub fn of(&self, stream: &StreamUrl, path: &str) -> Option<Timeline> {
        let mut table = self.table.lock();
        let lines = table.get(stream, Instant::now())?;
        let line = lines.paths.iter().find(|line| &*line.path == path)?;
        Some(line.timeline.clone())
    }

    /// The origin whose files have that epoch's tag in their session ids, where the stream has had more than one.
    pub fn origin_of(&self, stream: &StreamUrl, epoch: Option<&str>) -> Option<OriginId> {
        let mut table = self.table.lock();
        let lines = table.get(stream, Instant::now())?;
        if lines.epochs.len() < 2 {
            return None;
        }
        let mut epochs = lines.epochs.iter().rev();
        let (_, origin) = epochs.find(|(tag, _)| tag.as_deref() == epoch)?;
        Some(origin.clone())
    }

    /// Whether a playlist of the stream lists a file of that path's name.
    pub fn lists(&self, stream: &StreamUrl, path: &[u8]) -> bool {
        let mut table = self.table.lock();
        let lines = table.get(stream, Instant::now());
        lines.is_some_and(|lines| lines.paths.iter().any(|line| line.timeline.lists(path)))
    }

    /// What an origin's playlist at `path` of `stream` means after what went out before, and remembers it where it
    /// goes out. May wait for a Redis that proxies share: when the playlist is new here, now and then, and when an
    /// epoch begins.
    pub fn take(
        &self,
        balancer: &dyn Balancer,
        (stream, path): (&StreamUrl, &str),
        seen: &Seen<'_>,
        list: &MediaPlaylist,
    ) -> Step {
        let name = (balancer.shares_texts() && path.len() <= MAX_SHARED_PATH)
            .then(|| format!("timeline:{stream}:{path}"));
        for _ in 0..MAX_TURNS {
            if let Some(name) = &name
                && self.is_to_be_looked_at(stream, path, seen.now)
            {
                let text = balancer.shared_text(name);
                self.adopt((stream, path), text, seen);
            }
            let (step, version, written) = {
                let mut table = self.table.lock();
                let (before, version, written) = table.before((stream, path), seen);
                let step = next(before.as_ref(), seen, list);
                let Step::Goes {
                    timeline, changed, ..
                } = &step
                else {
                    return step;
                };
                if !(*changed && name.is_some()) {
                    let news = before.is_some_and(|before| timeline.last > before.last);
                    let new = name.is_some().then(|| record::write(timeline));
                    table.put(
                        (stream, path),
                        timeline,
                        new.clone().filter(|_| news),
                        seen.now,
                    );
                    drop(table);
                    if let (true, Some(name), Some(new)) = (news, &name, new) {
                        balancer.announce_shared_text(name, written.as_deref(), &new);
                    }
                    return step;
                }
                (step, version, written)
            };
            // A new epoch, for all proxies that share it: whoever writes it first decides.
            let (Some(name), Step::Goes { timeline, .. }) = (&name, &step) else {
                return step;
            };
            let new = record::write(timeline);
            match balancer.replace_shared_text(name, written.as_deref(), &new) {
                Ok(()) => {
                    let mut table = self.table.lock();
                    if table.version((stream, path)) == version {
                        table.put((stream, path), timeline, Some(new), seen.now);
                        return step;
                    }
                    drop(table);
                    self.adopt((stream, path), Some(new), seen);
                }
                Err(there) => self.adopt((stream, path), there, seen),
            }
        }
        Step::Outdated
    }

    /// All timelines as records, for a successor of this process: stream, path, record.
    pub fn records(&self) -> Vec<(String, String, String)> {
        let table = self.table.lock();
        let streams = table.old.iter().chain(&table.young);
        let of_stream = |(stream, lines): (&StreamUrl, &StreamLines)| {
            let record = |line: &Line| {
                let record = record::write(&line.timeline);
                (stream.to_string(), line.path.to_string(), record)
            };
            lines.paths.iter().map(record).collect::<Vec<_>>()
        };
        streams.flat_map(of_stream).collect()
    }

    /// Goes on from a predecessor's timelines; what is no record is left out.
    pub fn restore(&self, records: &[(String, String, String)]) {
        let now = Instant::now();
        let mut table = self.table.lock();
        for (stream, path, text) in records {
            if let (Some(stream), Some(timeline)) =
                (StreamUrl::parse(stream), record::read(text, now))
            {
                table.put((&stream, path), &timeline, None, now);
            }
        }
    }

    fn is_to_be_looked_at(&self, stream: &StreamUrl, path: &str, now: Instant) -> bool {
        let mut table = self.table.lock();
        let lines = table.get(stream, now);
        let line = lines.and_then(|lines| lines.paths.iter_mut().find(|line| &*line.path == path));
        line.is_none_or(|line| now.saturating_duration_since(line.looked) >= LOOK)
    }

    /// Takes over what is written down, where it is newer than what is known here.
    fn adopt(&self, key: (&StreamUrl, &str), text: Option<String>, seen: &Seen<'_>) {
        // What is written had begun before this answer was asked for.
        let began = seen.asked.checked_sub(Duration::from_millis(1));
        let read = |text: &String| record::read(text, began.unwrap_or(seen.asked));
        let there = text.as_ref().and_then(read);
        let mut table = self.table.lock();
        let known = table.line(key, seen.now).map(|line| {
            line.looked = seen.now;
            line.written = text.clone();
            line.timeline.clone()
        });
        let Some(there) = there else {
            return;
        };
        let new = match known {
            Some(mut known) if known.epoch.number >= there.epoch.number => {
                if known.epoch.number == there.epoch.number {
                    known.raise(there.last, there.last_discontinuity);
                }
                known
            }
            _ => there,
        };
        table.put(key, &new, text, seen.now);
    }
}

impl Table {
    /// A stream's lines; asking renews them.
    fn get(&mut self, stream: &StreamUrl, now: Instant) -> Option<&mut StreamLines> {
        if !self.young.contains_key(stream) {
            let lines = self.old.remove(stream)?;
            self.insert(stream, lines);
        }
        let lines = self.young.get_mut(stream)?;
        if now.saturating_duration_since(lines.used) >= LIFE {
            self.young.remove(stream);
            return None;
        }
        lines.used = now;
        self.young.get_mut(stream)
    }

    fn insert(&mut self, stream: &StreamUrl, lines: StreamLines) {
        if self.bytes >= GENERATION {
            self.old = mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += stream.as_str().len() + lines.size();
        self.young.insert(stream.clone(), lines);
    }

    fn line(&mut self, (stream, path): (&StreamUrl, &str), now: Instant) -> Option<&mut Line> {
        let lines = self.get(stream, now)?;
        lines.paths.iter_mut().find(|line| &*line.path == path)
    }

    fn version(&mut self, (stream, path): (&StreamUrl, &str)) -> u64 {
        let lines = self.young.get(stream);
        let line = lines.and_then(|lines| lines.paths.iter().find(|line| &*line.path == path));
        line.map_or(0, |line| line.version)
    }

    /// The timeline before an answer, its version, and its record as it is known. A playlist that is new here goes on
    /// as another one of its stream from the same origin does: renditions are numbered alike.
    fn before(
        &mut self,
        key: (&StreamUrl, &str),
        seen: &Seen<'_>,
    ) -> (Option<Timeline>, u64, Option<String>) {
        if let Some(line) = self.line(key, seen.now) {
            return (
                Some(line.timeline.clone()),
                line.version,
                line.written.clone(),
            );
        }
        let lines = self.get(key.0, seen.now);
        let sibling = lines.and_then(|lines| {
            let mut all = lines.paths.iter().map(|line| &line.timeline.epoch);
            all.find(|epoch| epoch.number > 0 && epoch.origin == *seen.origin)
        });
        let began = seen.asked.checked_sub(Duration::from_millis(1));
        let before = sibling.map(|epoch| {
            let start = epoch.start.unwrap_or(0);
            let tags = epoch.start_discontinuity;
            Timeline::recorded(epoch.clone(), start, tags, began.unwrap_or(seen.asked))
        });
        (before, 0, None)
    }

    /// Remembers a timeline; `written` is its record where other proxies are told of it.
    fn put(
        &mut self,
        (stream, path): (&StreamUrl, &str),
        timeline: &Timeline,
        written: Option<String>,
        now: Instant,
    ) {
        if self.get(stream, now).is_none() {
            let lines = StreamLines {
                used: now,
                paths: Vec::new(),
                epochs: VecDeque::new(),
            };
            self.insert(stream, lines);
        }
        let Some(lines) = self.young.get_mut(stream) else {
            return; // it has just come in
        };
        let epoch = (timeline.epoch.tag(), timeline.epoch.origin.clone());
        if !lines.epochs.contains(&epoch) {
            lines.epochs.push_back(epoch);
            if lines.epochs.len() > MAX_EPOCHS {
                lines.epochs.pop_front();
            }
        }
        match lines.paths.iter_mut().find(|line| &*line.path == path) {
            Some(line) => {
                line.timeline = timeline.clone();
                line.version += 1;
                if written.is_some() {
                    line.written = written;
                }
            }
            None => {
                if lines.paths.len() >= MAX_PATHS {
                    lines.paths.remove(0);
                }
                self.bytes += path.len() + timeline.size();
                lines.paths.push(Line {
                    path: path.into(),
                    timeline: timeline.clone(),
                    version: 1,
                    written,
                    looked: now,
                });
            }
        }
    }
}

impl StreamLines {
    fn size(&self) -> usize {
        let paths = self.paths.iter();
        let of_line = |line: &Line| size_of::<Line>() + line.path.len() + line.timeline.size();
        512 + paths.map(of_line).sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
