//! Finding the origin that has a stream: the pin, the APIs, trying, waiting (design.md, "Which
//! origin?").

mod elsewhere;
pub mod poller;
mod probe;
mod published;

use crate::balancer::origin::OriginState;
use crate::balancer::{Balancer, Candidate, OriginId};
use crate::locate::poller::{ApiPoller, HIT_TIME, PublishQuery, PublishStatus, ROUND_GAP};
use crate::locate::probe::{Probe, ProbeLimiter, SHORT_TIMEOUT};
use crate::runtime::cancel::CancelToken;
use crate::stream::url::StreamUrl;
use log::debug;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A live stream or a playlist, by the stream's own URL or another: these pin, and follow a stream
    /// that has moved.
    Stream,
    /// A segment: it follows the pin, and never changes it.
    Segment,
}

/// What to do next for a request.
#[derive(Debug, Clone)]
pub enum NextAttempt {
    /// Ask this origin; it has so long to answer, else the setting's time.
    Ask(Candidate, Option<Duration>),
    /// Nobody has it, and waiting did not help.
    NotFound,
    /// There is nobody left to ask.
    Exhausted,
    /// No origin is known.
    NoOrigin,
    /// The player has left.
    Left,
}

/// Finds origins; one for the process.
pub struct OriginLocator {
    balancer: Arc<dyn Balancer>,
    poller: ApiPoller,
    probes: ProbeLimiter,
    wait: Duration,
}

impl OriginLocator {
    /// `wait` is how long a player is held for a publisher.
    pub fn new(balancer: Arc<dyn Balancer>, poller: ApiPoller, wait: Duration) -> Self {
        Self {
            balancer,
            poller,
            probes: ProbeLimiter::default(),
            wait,
        }
    }

    /// Who is asked.
    pub fn balancer(&self) -> &Arc<dyn Balancer> {
        &self.balancer
    }

    /// The streams that the origins' APIs list. Blocks for 500 ms at most; what is at hand may be some seconds old.
    pub fn listed(&self) -> HashSet<StreamUrl> {
        self.poller.listed(&self.balancer.candidates())
    }

    /// How long a player is held for a publisher.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// Begins to look for the origin of a stream; without a stream (a session id that says nothing)
    /// all origins are tried.
    pub fn search<'a>(
        &'a self,
        stream: Option<&'a StreamUrl>,
        wanted: Wanted,
        cancel: &'a CancelToken,
    ) -> OriginLookup<'a> {
        OriginLookup {
            locator: self,
            stream,
            wanted,
            cancel,
            began: Instant::now(),
            wait: self.wait,
            asked: Vec::new(),
            status: PublishStatus::default(),
            pin: None,
            pin_looked: false,
            apis_looked: false,
            why: Why::Probe,
            way: "pinned",
            short: None,
        }
    }
}

/// Why an origin was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The stream is pinned to it.
    Pin,
    /// Its API lists the stream.
    Listed,
    /// Nothing speaks for it.
    Probe,
}

/// What was known of an origin when it was asked, and with it how long it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    /// Its API lists the stream, or nothing can be known: it had the setting's time.
    Firm,
    /// Its API misses: a short try is all that it gets.
    Missed,
    /// Its API did not answer, or another origin is the likelier one: a short try first, for the API
    /// may tell after it.
    Unsure,
}

/// An origin that was asked, without success when there is a next step.
struct Asked {
    id: OriginId,
    ground: Ground,
    listed: bool,
    /// It could not be connected.
    unreachable: bool,
    /// It sent no head in time, or has just been silent to another player.
    silent: bool,
}

/// One request's search. [`OriginLookup::step`] says whom to ask; what came of it goes to one of
/// [`OriginLookup::served`], [`OriginLookup::not_there`], [`OriginLookup::unreachable`] and [`OriginLookup::too_slow`].
pub struct OriginLookup<'a> {
    locator: &'a OriginLocator,
    stream: Option<&'a StreamUrl>,
    wanted: Wanted,
    cancel: &'a CancelToken,
    /// How long the player is held for a publisher.
    wait: Duration,
    began: Instant,
    asked: Vec<Asked>,
    status: PublishStatus,
    /// Where the stream was pinned at first.
    pin: Option<Candidate>,
    pin_looked: bool,
    /// Whether a miss was looked for among the APIs.
    apis_looked: bool,
    /// Why the last one was asked.
    why: Why,
    /// How it was found, in a word for the metrics.
    way: &'static str,
    /// The short try that is under way.
    short: Option<Probe<'a>>,
}

impl<'a> OriginLookup<'a> {
    /// The player came at that moment: it is held, and the APIs are believed, from then on.
    pub fn since(mut self, arrived: Instant) -> Self {
        self.began = arrived;
        self
    }

    /// The player is not held for a publisher.
    pub fn unheld(mut self) -> Self {
        self.wait = Duration::ZERO;
        self
    }

    /// Whom to ask next. May wait for the APIs, and for a publisher.
    pub fn step(&mut self) -> NextAttempt {
        self.short = None;
        let candidates = self.locator.balancer.candidates();
        if candidates.is_empty() {
            return NextAttempt::NoOrigin;
        }
        if let Some(step) = self.by_pin(&candidates) {
            return step;
        }
        self.way = "api";
        if let Some(step) = self.by_api(&candidates) {
            return step;
        }
        if self.cancel.is_cancelled() {
            return NextAttempt::Left;
        }
        self.way = "tried";
        if let Some(step) = self.by_trying(&candidates) {
            return step;
        }
        self.way = "waited";
        self.by_waiting()
    }

    /// What this step is, and how it came about, in a word for the metrics.
    pub fn outcome(&self, step: &NextAttempt) -> &'static str {
        match step {
            NextAttempt::Ask(..) => self.way,
            NextAttempt::NotFound => "not_found",
            NextAttempt::Exhausted => "exhausted",
            NextAttempt::NoOrigin => "no_origin",
            NextAttempt::Left => "left",
        }
    }

    /// 1. The pin, unless the APIs know better.
    fn by_pin(&mut self, candidates: &[Candidate]) -> Option<NextAttempt> {
        let stream = self.stream?;
        if self.pin_looked {
            return None;
        }
        self.pin_looked = true;
        self.pin = self.locator.balancer.pinned(stream);
        let pinned = &self.pin.as_ref()?.id;
        // A stale one is no candidate while another is alive.
        let pin = candidates.iter().find(|it| it.id == *pinned)?;
        if pin.state == OriginState::Suspect {
            return None;
        }
        if self.wanted == Wanted::Segment {
            return Some(self.ask(pin, Why::Pin, Ground::Firm));
        }
        let draining = pin.state == OriginState::Draining;
        if pin.origin.api_address().is_none() && !draining {
            return Some(self.ask(pin, Why::Pin, Ground::Firm)); // no API can say that it has moved
        }
        self.status = self.look(stream, candidates, HIT_TIME, Some(pin));
        let hits = |it: &Candidate| self.status.hits.contains(&it.id);
        if draining {
            let elsewhere = |it: &Candidate| it.state == OriginState::Alive && hits(it);
            let only_here = hits(pin) && !candidates.iter().any(elsewhere);
            return only_here.then(|| self.ask(pin, Why::Pin, Ground::Firm));
        }
        if hits(pin) || !self.status.misses.contains(&pin.id) {
            return Some(self.ask(pin, Why::Pin, Ground::Firm));
        }
        if self.status.hits.is_empty() {
            return self.ask_shortly(pin, Ground::Missed);
        }
        debug!("{stream} is not published on {} any more", pin.id);
        None
    }

    /// 2. Those whose API lists the stream.
    fn by_api(&mut self, candidates: &[Candidate]) -> Option<NextAttempt> {
        let stream = self.stream?;
        if let Some(step) = self.ask_listed(candidates) {
            return Some(step);
        }
        // Between two tries, too: somebody may have begun to publish.
        let age = if self.apis_looked {
            ROUND_GAP
        } else {
            self.began.elapsed()
        };
        self.apis_looked = true;
        self.status = self.look(stream, candidates, age, None);
        if self.cancel.is_cancelled() {
            return Some(NextAttempt::Left);
        }
        self.ask_listed(candidates)
    }

    /// 3. Those of whom the APIs tell nothing, then those whose API misses, which get one short try.
    fn by_trying(&mut self, candidates: &[Candidate]) -> Option<NextAttempt> {
        let misses = |it: &Candidate| self.status.misses.contains(&it.id);
        let silent = |it: &Candidate| {
            let probes = &self.locator.probes;
            self.stream
                .is_some_and(|stream| probes.was_silent(stream, &it.id))
        };
        let mut order: Vec<(_, &Candidate)> = candidates
            .iter()
            .filter(|it| !self.was_asked(it))
            .map(|it| ((it.state != OriginState::Alive, misses(it), silent(it)), it))
            .collect();
        order.sort_by_key(|(key, _)| *key);
        // Where the pin is for later, draining or suspect, others must not keep the player from it.
        let pin = self.pin.as_ref().map(|pin| pin.id.clone());
        let has_pin = order.iter().any(|(_, it)| Some(&it.id) == pin.as_ref());
        let held = self.began.elapsed() > self.wait.max(SHORT_TIMEOUT);
        for ((later, missed, _), candidate) in order {
            let has_api = self.stream.is_some() && candidate.origin.api_address().is_some();
            let ground = match (missed, has_api || (has_pin && !later)) {
                (true, _) if held => continue,
                (true, _) => Ground::Missed,
                (false, true) => Ground::Unsure,
                (false, false) => return Some(self.ask(candidate, Why::Probe, Ground::Firm)),
            };
            if let Some(step) = self.ask_shortly(candidate, ground) {
                return Some(step);
            }
        }
        // What nothing has ruled out gets its whole time in the end.
        let again = |it: &&Candidate| {
            let own = |asked: &&Asked| asked.id == it.id;
            let mut asked = self.asked.iter().filter(own).peekable();
            let unsure = |asked: &Asked| asked.ground == Ground::Unsure && asked.silent;
            asked.peek().is_some() && asked.all(unsure) && !self.status.misses.contains(&it.id)
        };
        let candidate = candidates.iter().find(again)?;
        Some(self.ask(candidate, Why::Probe, Ground::Firm))
    }

    /// 4. The APIs miss: the player is held, and whoever begins to publish is asked.
    fn by_waiting(&mut self) -> NextAttempt {
        let Some(stream) = self.stream.filter(|_| self.wanted == Wanted::Stream) else {
            return NextAttempt::Exhausted;
        };
        if self.status.misses.is_empty() {
            return NextAttempt::Exhausted; // no API says that nobody publishes it
        }
        let end = self.began + self.wait;
        while self.status.hits.is_empty() {
            let now = Instant::now();
            let candidates = self.locator.balancer.candidates();
            let has_api = |it: &Candidate| it.origin.api_address().is_some();
            if now >= end || !candidates.iter().any(has_api) {
                return NextAttempt::NotFound;
            }
            let query = PublishQuery {
                stream,
                candidates: &candidates,
                since: now,
                pin: None,
                until: Some(end),
            };
            self.status = self.locator.poller.ask(&query, self.cancel);
            if self.cancel.is_cancelled() {
                return NextAttempt::Left;
            }
            if let Some(step) = self.ask_listed(&candidates) {
                return step;
            }
            // Another player's try may have found what no API tells of.
            let pin = self.locator.balancer.pinned(stream);
            let news = |it: &&Candidate| {
                pin.as_ref().is_some_and(|pin| pin.id == it.id) && !self.was_asked(it)
            };
            if let Some(found) = candidates.iter().find(news) {
                return self.ask(found, Why::Probe, Ground::Missed);
            }
        }
        NextAttempt::Exhausted // it is listed there, and yet was not to be had there
    }

    /// What the APIs say; a miss must not be older than `age`.
    fn look(
        &self,
        stream: &StreamUrl,
        candidates: &[Candidate],
        age: Duration,
        pin: Option<&Candidate>,
    ) -> PublishStatus {
        let now = Instant::now();
        let query = PublishQuery {
            stream,
            candidates,
            since: now.checked_sub(age).unwrap_or(now),
            pin,
            until: None,
        };
        self.locator.poller.ask(&query, self.cancel)
    }

    /// The first that is listed, unless it was asked when it was, or cannot be reached: an origin that
    /// was tried while it did not publish is worth asking again.
    fn ask_listed(&mut self, candidates: &[Candidate]) -> Option<NextAttempt> {
        // Within a short try's time a failed connect may be the fault of a busy machine.
        let is_over =
            |asked: &Asked| asked.listed || (asked.unreachable && asked.ground == Ground::Firm);
        let done = |id| self.asked.iter().any(|it| it.id == id && is_over(it));
        let worth = |it: &&Candidate| self.status.hits.contains(&it.id) && !done(it.id.clone());
        let candidate = candidates.iter().find(worth)?;
        Some(self.ask(candidate, Why::Listed, Ground::Firm))
    }

    /// A short try, unless one has just been in vain.
    fn ask_shortly(&mut self, candidate: &Candidate, ground: Ground) -> Option<NextAttempt> {
        let probes = &self.locator.probes;
        if let Some(stream) = self.stream {
            let Some(short) = probes.begin(stream, &candidate.id, self.cancel) else {
                self.note(candidate, ground, true);
                return None;
            };
            self.short = Some(short);
        }
        Some(self.ask(candidate, Why::Probe, ground))
    }

    fn ask(&mut self, candidate: &Candidate, why: Why, ground: Ground) -> NextAttempt {
        let timeout = (ground != Ground::Firm).then_some(SHORT_TIMEOUT);
        debug!(
            "picked {} at {} for {}{}",
            candidate.id,
            candidate
                .origin
                .http_address()
                .map_or(String::new(), |address| address.to_string()),
            self.stream.map_or("a segment", StreamUrl::as_str),
            if timeout.is_some() {
                ", for a short try"
            } else {
                ""
            }
        );
        self.why = why;
        self.note(candidate, ground, false);
        NextAttempt::Ask(candidate.clone(), timeout)
    }

    fn note(&mut self, candidate: &Candidate, ground: Ground, silent: bool) {
        self.asked.push(Asked {
            id: candidate.id.clone(),
            ground,
            listed: self.status.hits.contains(&candidate.id),
            unreachable: false,
            silent,
        });
    }

    fn was_asked(&self, candidate: &Candidate) -> bool {
        self.asked.iter().any(|asked| asked.id == candidate.id)
    }

    /// Whether the last one was only tried, so that its 5xx is no reason to stop: neither the pin nor
    /// an API spoke for it.
    pub fn is_try(&self) -> bool {
        self.why == Why::Probe
    }

    /// The origin answered 200: the stream is pinned to it. `own` when that was for the stream's own
    /// playlist or live URL; a strange URL's answer moves no pin.
    pub fn served(&mut self, by: &Candidate, own: bool) {
        self.short = None;
        let (Some(stream), Wanted::Stream) = (self.stream, self.wanted) else {
            return;
        };
        self.locator.probes.served(stream, &by.id);
        if own || self.why != Why::Probe || self.pin.is_none() {
            self.locator.balancer.pin(stream, &by.id);
        }
    }

    /// The origin answered 404. `own` when that was for the stream's own playlist or live URL. Gives
    /// whether to go on with the next origin; else the 404 is the player's.
    pub fn not_there(&mut self, at: &Candidate, own: bool) -> bool {
        self.short = None;
        let Some(stream) = self.stream else {
            return true;
        };
        if self.status.hits.contains(&at.id) {
            return false; // it is published there: the 404 is about this request
        }
        if self.wanted == Wanted::Segment || !own {
            return self.is_try(); // an expired segment or a strange URL moves nobody
        }
        self.locator.balancer.unpin(stream, &at.id);
        true
    }

    /// The origin could not be connected.
    pub fn unreachable(&mut self, at: &Candidate) {
        self.short = None;
        self.locator.balancer.suspect(&at.id);
        if let Some(asked) = self.asked.last_mut() {
            asked.unreachable = true;
        }
    }

    /// The origin sent no head in time. Gives whether it was only a short try, and others are to be
    /// asked.
    pub fn too_slow(&mut self, at: &Candidate, timeout: Option<Duration>) -> bool {
        if let (Some(stream), Wanted::Stream) = (self.stream, self.wanted) {
            self.locator.balancer.unpin(stream, &at.id);
            self.locator.probes.silent(stream, &at.id);
        }
        self.short = None;
        if let Some(asked) = self.asked.last_mut() {
            asked.silent = true;
        }
        timeout.is_some()
    }
}
