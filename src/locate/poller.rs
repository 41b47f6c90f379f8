//! Rounds: asking the HTTP APIs of all origins at the same time which streams they publish, once for
//! however many players wait.

use crate::balancer::origin::OriginState;
use crate::balancer::{Candidate, OriginId};
use crate::locate::published;
use crate::locate::published::PublishedStreams;
use crate::runtime::cancel::CancelToken;
use crate::runtime::pool::Pool;
use crate::stream::url::{ApiMatch, StreamUrl};
use crate::upstream::OriginClient;
use log::debug;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one API may take in all.
pub const API_TIME: Duration = Duration::from_millis(500);
/// A round begins at most this often.
pub const ROUND_GAP: Duration = Duration::from_secs(1);
/// A hit is believed for this long.
pub const HIT_TIME: Duration = Duration::from_secs(2);
/// While a player waits it looks this often whether it has left.
const LOOK: Duration = Duration::from_millis(100);
/// APIs that are asked at the same time at most.
const MAX_LOOKUPS: usize = 256;
/// Stack of a look-up's thread, in bytes.
const STACK: usize = 256 * 1024;

/// What the APIs say of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishStatus {
    /// Origins that publish it, those with the exact vhost where there are any.
    pub hits: Vec<OriginId>,
    /// Whether the hits are those with the exact vhost.
    pub exact: bool,
    /// Origins whose API answered, and does not list it.
    pub misses: Vec<OriginId>,
}

/// What is asked of the APIs.
#[derive(Debug, Clone, Copy)]
pub struct PublishQuery<'a> {
    pub stream: &'a StreamUrl,
    /// Whose APIs are asked.
    pub candidates: &'a [Candidate],
    /// A hit of the last 2 s is believed; a miss only from a round that began after this moment.
    pub since: Instant,
    /// The origin that the stream is pinned to, where the question is whether it has moved.
    pub pin: Option<&'a Candidate>,
    /// When whatever is known then will do.
    pub until: Option<Instant>,
}

impl PublishQuery<'_> {
    /// Whether the answers at hand settle it, though others are still on their way.
    fn is_settled_by(&self, status: &PublishStatus) -> bool {
        if let Some(pin) = self.pin {
            if pin.state == OriginState::Alive && status.hits.contains(&pin.id) {
                return true;
            }
            if !status.misses.contains(&pin.id) {
                return false;
            }
        }
        // A draining or suspect origin is for when no other has it, and the default vhost's stream for
        // when no origin has the exact one.
        let good = |it: &Candidate| it.state == OriginState::Alive && status.hits.contains(&it.id);
        status.exact && self.candidates.iter().any(good)
    }
}

/// The shared answers of the APIs.
pub struct ApiPoller {
    lookups: Arc<Pool<ApiLookup>>,
    shared: Arc<SharedAnswers>,
}

#[derive(Default)]
struct SharedAnswers {
    state: Mutex<PollerState>,
    changed: Condvar,
}

#[derive(Default)]
struct PollerState {
    number: u64,
    /// The newest round.
    newest: Option<Round>,
    /// When the one before it began: that one is over.
    before: Option<Instant>,
    answers: HashMap<OriginId, Answer>,
}

struct Round {
    began: Instant,
    /// Those that were asked.
    asked: HashSet<OriginId>,
    /// Those among them that have neither answered nor failed. Suspect ones are not waited for.
    awaited: HashSet<OriginId>,
}

impl Round {
    fn is_over(&self, now: Instant) -> bool {
        self.awaited.is_empty() || since(self.began, now) >= API_TIME
    }
}

struct Answer {
    round: u64,
    /// When its round began.
    began: Instant,
    /// `None` when the API was slow, down or talked rubbish: that rules nothing out.
    publishing: Option<PublishedStreams>,
    /// It took all the time that it had.
    late: bool,
}

impl Answer {
    fn is_fresh(&self, now: Instant) -> bool {
        since(self.began, now) <= HIT_TIME
    }

    /// Whether there is no API, as behind a plain web server: asking again is not worth a wait.
    fn is_no_api(&self) -> bool {
        self.publishing.is_none() && !self.late
    }
}

struct ApiLookup {
    candidate: Candidate,
    round: u64,
    began: Instant,
}

/// What is still missing for an answer.
enum Lack {
    Nothing,
    /// The end of the newest round, or the moment of the next.
    Time(Duration),
    Round,
}

fn since(then: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(then)
}

impl PollerState {
    fn status(&self, stream: &StreamUrl, now: Instant) -> PublishStatus {
        let mut exact = Vec::new();
        let mut default = Vec::new();
        let mut misses = Vec::new();
        for (id, answer) in &self.answers {
            let Some(publishing) = answer.publishing.as_ref().filter(|_| answer.is_fresh(now))
            else {
                continue;
            };
            match publishing.has(stream) {
                ApiMatch::Exact => exact.push(id.clone()),
                ApiMatch::DefaultVhost => default.push(id.clone()),
                ApiMatch::No => misses.push(id.clone()),
            }
        }
        if exact.is_empty() {
            return PublishStatus {
                hits: default,
                exact: false,
                misses,
            };
        }
        misses.extend(default);
        PublishStatus {
            hits: exact,
            exact: true,
            misses,
        }
    }

    fn fresh_answer(&self, of: &Candidate, now: Instant) -> Option<&Answer> {
        self.answers.get(&of.id).filter(|it| it.is_fresh(now))
    }

    /// Whether none of those who could be asked has an API: nothing is to be learnt by waiting for the
    /// next round. Who is held for a publisher waits for it all the same, for it may come.
    fn knows_no_api(&self, query: &PublishQuery<'_>, now: Instant) -> bool {
        let no_api = |it: &Candidate| {
            let answer = self.fresh_answer(it, now);
            it.origin.api_address().is_none() || answer.is_some_and(Answer::is_no_api)
        };
        query.until.is_none() && query.candidates.iter().all(no_api)
    }

    fn lack(&self, query: &PublishQuery<'_>, now: Instant) -> Lack {
        let Some(newest) = &self.newest else {
            return Lack::Round;
        };
        // An origin that has come, or come again, since a round began was not asked in it.
        let knows_pin = query
            .pin
            .is_none_or(|pin| self.fresh_answer(pin, now).is_some());
        if self.before.is_some_and(|began| began >= query.since) && knows_pin {
            return Lack::Nothing;
        }
        let asked_pin = query.pin.is_none_or(|pin| newest.asked.contains(&pin.id));
        let covers = newest.began >= query.since && (knows_pin || asked_pin);
        if covers && newest.is_over(now) {
            return Lack::Nothing;
        }
        let age = since(newest.began, now);
        if covers {
            Lack::Time(API_TIME.saturating_sub(age))
        } else if age < ROUND_GAP {
            Lack::Time(ROUND_GAP - age)
        } else {
            Lack::Round
        }
    }
}

impl ApiPoller {
    /// No answers yet; they are asked for by that client.
    pub fn new(client: Arc<OriginClient>) -> Self {
        let shared = Arc::new(SharedAnswers::default());
        let (asker, answers) = (client, shared.clone());
        let lookups = Pool::new(
            "API look-up",
            MAX_LOOKUPS,
            STACK,
            move |lookup: ApiLookup| {
                let publishing = published::ask(&asker, &lookup.candidate, API_TIME);
                answers.take(&lookup, publishing);
            },
        );
        Self { lookups, shared }
    }

    /// What the APIs say, waiting for a round where the answers at hand are too old. Waits 1.5 s at
    /// most, and no longer than the player stays.
    pub fn ask(&self, query: &PublishQuery<'_>, cancel: &CancelToken) -> PublishStatus {
        let has_api = |it: &Candidate| it.origin.api_address().is_some();
        if !query.candidates.iter().any(has_api) {
            return PublishStatus::default();
        }
        let mut state = self.shared.lock();
        loop {
            let now = Instant::now();
            let status = state.status(query.stream, now);
            let lack = state.lack(query, now);
            if matches!(lack, Lack::Nothing)
                || state.knows_no_api(query, now)
                || query.is_settled_by(&status)
                || query.until.is_some_and(|until| now >= until)
                || cancel.is_cancelled()
            {
                self.refresh(state, query.candidates);
                return status;
            }
            let Lack::Time(wait) = lack else {
                state = self.begin(state, query.candidates);
                continue;
            };
            let left = query.until.map_or(LOOK, |until| since(now, until));
            let wait = wait.min(left).clamp(Duration::from_millis(1), LOOK);
            let changed = &self.shared.changed;
            changed.wait_for(&mut state, wait);
        }
    }

    /// The streams that the APIs list, by answers of the last seconds: what a page shows, which may be that old. Begins a
    /// round where the newest is older than 2 s, and waits for its end, 500 ms at most.
    pub fn listed(&self, candidates: &[Candidate]) -> HashSet<StreamUrl> {
        let mut state = self.shared.lock();
        let newest = state.newest.as_ref();
        if newest.is_none_or(|newest| newest.began.elapsed() > HIT_TIME) {
            state = self.begin(state, candidates);
        }
        let end = Instant::now() + API_TIME;
        loop {
            let now = Instant::now();
            let over = state.newest.as_ref().is_none_or(|it| it.is_over(now));
            if over || now >= end {
                break;
            }
            self.shared.changed.wait_until(&mut state, end);
        }
        let known = |it: &Candidate| state.answers.get(&it.id)?.publishing.as_ref();
        let lists = candidates.iter().filter_map(known);
        lists.flat_map(PublishedStreams::iter).cloned().collect()
    }

    /// Begins a round in the background when the last one is a second old, so that nobody has to
    /// wait while there are requests.
    fn refresh(&self, state: MutexGuard<'_, PollerState>, candidates: &[Candidate]) {
        let newest = state.newest.as_ref();
        if newest.is_none_or(|newest| newest.began.elapsed() >= ROUND_GAP) {
            drop(self.begin(state, candidates));
        }
    }

    fn begin<'a>(
        &'a self,
        mut state: MutexGuard<'a, PollerState>,
        candidates: &[Candidate],
    ) -> MutexGuard<'a, PollerState> {
        let asked: Vec<Candidate> = candidates
            .iter()
            .filter(|it| it.origin.api_address().is_some())
            .cloned()
            .collect();
        let awaited = |it: &&Candidate| it.state != OriginState::Suspect;
        let began = Instant::now();
        state.number += 1;
        state.before = state.newest.as_ref().map(|newest| newest.began);
        state.newest = Some(Round {
            began,
            asked: asked.iter().map(|it| it.id.clone()).collect(),
            awaited: asked
                .iter()
                .filter(awaited)
                .map(|it| it.id.clone())
                .collect(),
        });
        state
            .answers
            .retain(|_, answer| answer.began.elapsed() <= HIT_TIME * 2);
        let round = state.number;
        drop(state);
        debug!("round {round}: asking {} APIs", asked.len());
        for candidate in asked {
            let lookup = ApiLookup {
                candidate,
                round,
                began,
            };
            if let Err(lookup) = self.lookups.run(lookup) {
                self.shared.take(&lookup, None);
            }
        }
        self.shared.lock()
    }
}

impl SharedAnswers {
    fn lock(&self) -> MutexGuard<'_, PollerState> {
        self.state.lock()
    }

    fn take(&self, lookup: &ApiLookup, publishing: Option<PublishedStreams>) {
        let mut state = self.lock();
        if lookup.round == state.number
            && let Some(newest) = &mut state.newest
        {
            newest.awaited.remove(&lookup.candidate.id);
        }
        let newest = state
            .answers
            .get(&lookup.candidate.id)
            .map_or(0, |answer| answer.round);
        if newest < lookup.round {
            let answer = Answer {
                round: lookup.round,
                began: lookup.began,
                publishing,
                late: lookup.began.elapsed() >= API_TIME,
            };
            state.answers.insert(lookup.candidate.id.clone(), answer);
        }
        drop(state);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
