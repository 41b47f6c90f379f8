//! One request's look-up: it gathers what is known, has the attempts ordered, and learns from what came of them.

mod report;

use crate::balancer::origin::OriginState;
use crate::balancer::{Candidate, OriginId};
use crate::config::TryUnlisted;
use crate::locate::attempt::{Attempt, AttemptReason, Tried};
use crate::locate::order::{self, Circumstances, Hold, Listing, Plan, Prospect, Then};
use crate::locate::probe::Probe;
use crate::locate::publish::{PublishQuery, PublishStatus};
use crate::locate::rounds::{HIT_TIME, ROUND_GAP};
use crate::locate::shared::Shared;
use crate::locate::wanted::Wanted;
use crate::runtime::cancel::CancelToken;
use crate::runtime::semaphore::Permit;
use crate::stream::url::StreamUrl;
use log::debug;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Without any origin, whether one has registered is looked at this often.
const LOOK_FOR_ORIGINS: Duration = Duration::from_millis(100);

/// What is looked for, for whom.
#[derive(Debug, Clone, Copy)]
pub struct LookupRequest<'a> {
    /// The stream. `None` for a segment whose session id says nothing: any origin may have it.
    pub stream: Option<&'a StreamUrl>,
    pub wanted: Wanted,
    /// Whether the URL is the stream's own: only then is a 404 about the stream, and a 200 a reason to pin.
    pub is_own_url: bool,
    /// When the request came: the player is held from then on, and what APIs missed before does not count.
    pub arrived: Instant,
    /// How long the player may be held for a publisher, where that is not `PROXY_STREAM_WAIT`. Such a look-up is
    /// for a running stream: it needs no waiting place, and asks no origin whose API misses the stream.
    pub hold: Option<Duration>,
    /// The request is one that origins hold on purpose, as blocking playlist reloads are.
    pub patient: bool,
    /// Cancelled when nobody wants the answer any more.
    pub cancel: &'a CancelToken,
}

/// What to do next for a request.
#[derive(Debug, Clone)]
pub enum NextAttempt {
    /// Ask this origin. The duration is the time for connecting and for the response's head; `None` where it is the settings'.
    Ask(Candidate, Option<Duration>),
    /// Nobody publishes the stream.
    NotFound,
    /// All who might have the stream were asked in vain.
    Exhausted,
    /// No origin is known.
    NoOrigin,
    /// The player has left.
    Left,
}

/// One request's look-up.
pub struct OriginLookup<'a> {
    shared: &'a Shared,
    request: LookupRequest<'a>,
    /// The stream's name in pins, probes and news; see [`StreamNames`](crate::locate::names::StreamNames).
    name: Option<StreamUrl>,
    status: PublishStatus,
    looked: Looked,
    /// Where the stream was pinned when the look-up began.
    pin: Option<Candidate>,
    /// Where another player has pinned the stream since this one is held.
    found: Option<OriginId>,
    tried: HashMap<OriginId, Tried>,
    /// Origins whose API has missed the stream since the request came: one slow answer later does not make them worth
    /// a guess, which SRS would hold.
    missed: HashSet<OriginId>,
    hold: Hold,
    /// Whether the player has been held, and the place that it holds meanwhile.
    held: bool,
    place: Option<Permit>,
    unlisted: usize,
    after_5xx: Option<usize>,
    /// Why a 200 from another origin than the pinned one moves no pin: the pinned one said no, but only to this request.
    keeps_pin: bool,
    /// The pinned origin cannot be connected: any 200 may move the pin.
    pin_is_gone: bool,
    asked: Option<(Candidate, AttemptReason, Option<Duration>)>,
    probe: Option<Probe<'a>>,
    word: &'static str,
    /// The last failed attempt's error.
    error: String,
}

/// What the APIs were asked so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    No,
    /// Whether the stream is still at its pin: answers of the last 2 s were good enough.
    ForPin,
    /// Everything, in a round that began after the request came.
    Fully,
}

impl<'a> OriginLookup<'a> {
    pub(super) fn new(shared: &'a Shared, request: LookupRequest<'a>) -> Self {
        Self {
            shared,
            request,
            name: request
                .stream
                .map(|stream| shared.names.name_of(stream).into_owned()),
            status: PublishStatus::default(),
            looked: Looked::No,
            pin: None,
            found: None,
            tried: HashMap::new(),
            missed: HashSet::new(),
            hold: Hold::Possible,
            held: false,
            place: None,
            unlisted: 0,
            after_5xx: None,
            keeps_pin: false,
            pin_is_gone: false,
            asked: None,
            probe: None,
            word: "left",
            error: String::new(),
        }
    }

    /// Says which origin to ask next. Blocks for the APIs (1.5 s at most), for a publisher and for a first heartbeat (as
    /// long as players are held), and ends early when the player leaves.
    pub fn next(&mut self) -> NextAttempt {
        self.probe = None;
        let next = self.look_for_next();
        let guesses = self.asked.as_ref().is_some_and(|it| it.1.is_guess());
        if !guesses {
            self.place = None; // who guesses still waits: names that nobody has must not hold the places of streams
        }
        self.word = match &next {
            NextAttempt::Ask(..) => self.asked.as_ref().map_or("tried", |it| it.1.word()),
            NextAttempt::NotFound => "not_found",
            NextAttempt::Exhausted => "exhausted",
            NextAttempt::NoOrigin => "no_origin",
            NextAttempt::Left => "left",
        };
        next
    }

    /// How the last origin was found, or why there is none, in a word for the metrics.
    pub fn word(&self) -> &'static str {
        self.word
    }

    fn look_for_next(&mut self) -> NextAttempt {
        loop {
            let candidates = self.shared.balancer.candidates();
            if self.request.cancel.is_cancelled() {
                return NextAttempt::Left;
            }
            if candidates.is_empty() {
                if !self.wait_for_an_origin() {
                    return NextAttempt::NoOrigin;
                }
                continue;
            }
            let plan = self.gather(&candidates);
            if self.request.cancel.is_cancelled() {
                return NextAttempt::Left;
            }
            if let Some(attempt) = plan.attempts.first() {
                if let Some(next) = self.begin(&candidates[attempt.at], attempt) {
                    return next;
                }
                continue; // one in vain by another player stands for this one's
            }
            match plan.then {
                Then::Hold => {
                    if !self.hold_for_a_publisher(&candidates) {
                        return NextAttempt::NotFound;
                    }
                }
                Then::NotFound => return NextAttempt::NotFound,
                Then::Exhausted => return NextAttempt::Exhausted,
            }
        }
    }

    /// Finds out what pins and APIs say, as far as it is needed, and orders the attempts.
    fn gather(&mut self, candidates: &[Candidate]) -> Plan {
        let Some(stream) = self.request.stream else {
            return self.plan(candidates);
        };
        if self.looked == Looked::No {
            self.pin = self.pinned();
            self.looked = Looked::ForPin;
            self.look_for_pin(stream, candidates);
            self.learn_name(stream);
            let plan = self.plan(candidates);
            let first = plan.attempts.first().map(|attempt| attempt.reason);
            let settled = |reason: AttemptReason| {
                reason.is_listed()
                    || matches!(reason, AttemptReason::Pin | AttemptReason::PinMissed)
            };
            if first.is_some_and(settled) {
                return plan;
            }
        }
        if self.looked == Looked::ForPin {
            self.looked = Looked::Fully;
            self.status = self.look(stream, candidates, self.request.arrived.elapsed(), None);
        } else if !self.held {
            // Between two attempts: the stream may be published by now, and news of the last attempt may void a hit.
            self.status = self.look(stream, candidates, ROUND_GAP, None);
        }
        self.learn_name(stream);
        self.missed.extend(self.status.misses.iter().cloned());
        let poller = &self.shared.poller;
        self.shared
            .history
            .settle(|stream, id, at| poller.said_since(stream, id, at));
        self.plan(candidates)
    }

    /// Where the stream is pinned now.
    fn pinned(&self) -> Option<Candidate> {
        self.shared.balancer.pinned(self.name.as_ref()?)
    }

    /// Takes from what the APIs say whether the stream is the default vhost's.
    fn learn_name(&mut self, stream: &StreamUrl) {
        if self.status.hits.is_empty() {
            return;
        }
        self.shared.names.listed(stream, self.status.exact);
        let name = self.shared.names.name_of(stream);
        if self.name.as_ref() != Some(&*name) {
            self.name = Some(name.into_owned());
            self.pin = self.pinned();
        }
    }

    /// Asks the APIs whether the stream is still where it is pinned.
    fn look_for_pin(&mut self, stream: &StreamUrl, candidates: &[Candidate]) {
        let pinned = self.pin.as_ref();
        // A stale origin is no candidate while another is alive.
        let pin = candidates
            .iter()
            .find(|it| pinned.is_some_and(|pin| pin.id == it.id));
        let Some(pin) = pin.filter(|pin| pin.state != OriginState::Suspect) else {
            return;
        };
        if self.request.wanted == Wanted::Segment {
            return; // a segment follows the pin, whatever APIs say
        }
        let draining = pin.state == OriginState::Draining;
        self.status = if pin.origin.api_address().is_some() || draining {
            self.look(stream, candidates, HIT_TIME, Some(pin))
        } else {
            // Its own API cannot say that the stream has moved. What others are known to list beats the pin, but is
            // not waited for.
            let now = Instant::now();
            self.ask_apis(stream, candidates, now, None, Some(now))
        };
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
        let since = now.checked_sub(age).unwrap_or(now);
        self.ask_apis(stream, candidates, since, pin, None)
    }

    fn ask_apis(
        &self,
        stream: &StreamUrl,
        candidates: &[Candidate],
        since: Instant,
        pin: Option<&Candidate>,
        until: Option<Instant>,
    ) -> PublishStatus {
        let name = self.name.as_ref().unwrap_or(stream);
        let mut news = self.shared.history.news(name, Instant::now());
        let newest = news.iter().map(|(_, at)| *at).max();
        if let Some(until) = until {
            // A listing that has led nowhere does not end the waiting for another.
            let in_vain = self.tried.iter().filter(|(_, tried)| tried.listed);
            news.extend(in_vain.map(|(id, _)| (id.clone(), until)));
        }
        let query = PublishQuery {
            stream,
            candidates,
            since: newest.map_or(since, |newest| newest.max(since)),
            news: &news,
            pin,
            until,
        };
        self.shared.poller.ask(&query, self.request.cancel)
    }

    fn plan(&self, candidates: &[Candidate]) -> Plan {
        let news = match &self.name {
            Some(name) => self.shared.history.news(name, Instant::now()),
            None => Vec::new(),
        };
        let candidates = candidates.iter();
        let prospects: Vec<Prospect> = candidates.map(|it| self.prospect(it, &news)).collect();
        let circumstances = Circumstances {
            wanted: self.request.wanted,
            hold: self.hold,
            held: self.held,
            try_unlisted: match self.request.hold {
                None => self.shared.settings.try_unlisted,
                // A stream that was running is listed again, or has ended: guesses would only do harm.
                Some(_) => TryUnlisted::Never,
            },
            unlisted: self.unlisted,
            after_5xx: self.after_5xx,
            patient: self.request.patient,
        };
        order::plan(&prospects, &circumstances)
    }

    fn prospect(&self, candidate: &Candidate, news: &[(OriginId, Instant)]) -> Prospect {
        let id = &candidate.id;
        let listing = if self.status.hits.contains(id) {
            Listing::Listed
        } else if self.status.misses.contains(id) || self.missed.contains(id) {
            Listing::Missed
        } else {
            Listing::Unknown
        };
        let (probes, history) = (&self.shared.probes, &self.shared.history);
        let serves_unlisted = || {
            let address = candidate.origin.http_address();
            let wanted = self.request.wanted;
            address.is_some_and(|at| history.serves_unlisted(at, wanted, Instant::now()))
        };
        Prospect {
            state: candidate.state,
            listing,
            pinned: self.pin.as_ref().is_some_and(|pin| pin.id == *id),
            found: self.found.as_ref() == Some(id),
            serves_unlisted: listing == Listing::Missed && serves_unlisted(),
            doubted: self
                .name
                .as_ref()
                .is_some_and(|name| probes.was_silent(name, id)),
            failed_lately: news.iter().any(|(origin, _)| origin == id),
            tried: self.tried.get(id).copied().unwrap_or_default(),
        }
    }

    /// Begins an attempt. `None` where another player's has just been in vain, or this player has left.
    fn begin(&mut self, candidate: &Candidate, attempt: &Attempt) -> Option<NextAttempt> {
        let Attempt {
            reason, timeout, ..
        } = *attempt;
        let tried = self.tried.entry(candidate.id.clone()).or_default();
        tried.count += 1;
        tried.listed |= reason.is_listed();
        (tried.unreachable, tried.timed_out_early) = (false, false);
        self.unlisted += usize::from(reason == AttemptReason::Unlisted);
        self.after_5xx = self.after_5xx.map(|asked| asked + 1);
        if let (Some(stream), true, true) = (&self.name, reason.is_guess(), timeout.is_some()) {
            let probe = self
                .shared
                .probes
                .begin(stream, &candidate.id, self.request.cancel);
            if probe.is_none() {
                tried.timed_out_early = true;
                return None;
            }
            self.probe = probe;
        }
        debug!(
            "picked {} at {} for {}: {reason:?}",
            candidate.id,
            candidate
                .origin
                .http_address()
                .map_or(String::new(), |address| address.to_string()),
            self.request.stream.map_or("a segment", StreamUrl::as_str),
        );
        self.asked = Some((candidate.clone(), reason, timeout));
        Some(NextAttempt::Ask(candidate.clone(), timeout))
    }

    /// Until when the player may be held.
    fn end_of_hold(&self) -> Instant {
        let time = self.request.hold.unwrap_or(self.shared.settings.wait);
        self.request.arrived + time
    }

    /// Takes a place among those who wait. Gives whether there was one.
    fn takes_place(&mut self) -> bool {
        if self.request.hold.is_none() && self.place.is_none() {
            self.place = self.shared.waiting_place(self.request.wanted);
        }
        self.request.hold.is_some() || self.place.is_some()
    }

    /// Holds the player until an origin registers: the proxy may have started just now. Gives whether there is reason
    /// to go on.
    fn wait_for_an_origin(&mut self) -> bool {
        let left = self.end_of_hold().saturating_duration_since(Instant::now());
        if left.is_zero() || !self.takes_place() {
            return false;
        }
        self.request.cancel.wait(left.min(LOOK_FOR_ORIGINS));
        true
    }

    /// Holds the player until an API lists the stream, another player has found it, or the time is over. Gives whether
    /// to go on; `false` where too many wait already.
    fn hold_for_a_publisher(&mut self, candidates: &[Candidate]) -> bool {
        let Some(stream) = self.request.stream else {
            return false;
        };
        let (now, end) = (Instant::now(), self.end_of_hold());
        let has_api = |it: &Candidate| it.origin.api_address().is_some();
        if now >= end || !candidates.iter().any(has_api) {
            self.hold = Hold::Over;
            return true;
        }
        if !self.takes_place() {
            debug!("too many players wait for publishers: {stream} is not waited for");
            return false;
        }
        self.held = true;
        self.status = self.ask_apis(stream, candidates, now, None, Some(end));
        self.learn_name(stream);
        let listed = |id: &OriginId| self.status.hits.contains(id);
        let pin = self.pinned();
        let before = self.pin.as_ref().map(|pin| &pin.id);
        self.found = pin
            .map(|pin| pin.id)
            .filter(|id| Some(id) != before && !listed(id));
        true
    }
}
