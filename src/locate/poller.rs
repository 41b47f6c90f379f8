//! Asking the HTTP APIs of all origins at the same time which streams they publish, once for however many players wait.

use crate::balancer::origin::OriginState;
use crate::balancer::{Candidate, OriginId};
use crate::locate::origin_api::OriginApi;
use crate::locate::publish::{PublishQuery, PublishStatus};
use crate::locate::published::PublishedStreams;
use crate::locate::rounds::{API_TIME, Answer, HIT_TIME, Lack, ROUND_GAP, Round, Rounds};
use crate::runtime::cancel::CancelToken;
use crate::runtime::pool::Pool;
use crate::stream::url::StreamUrl;
use crate::upstream::OriginClient;
use log::debug;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// While a player waits, whether the player has left is looked at this often.
const LOOK: Duration = Duration::from_millis(100);
/// APIs that are asked at the same time at most.
const MAX_LOOKUPS: usize = 256;
/// Stack of a look-up's thread, in bytes.
const STACK: usize = 256 * 1024;

/// The poller of the origins' APIs, with their shared answers. One for the process.
pub struct ApiPoller {
    lookups: Arc<Pool<ApiLookup>>,
    shared: Arc<SharedAnswers>,
}

#[derive(Default)]
struct SharedAnswers {
    state: Mutex<Rounds>,
    changed: Condvar,
}

struct ApiLookup {
    candidate: Candidate,
    round: u64,
    began: Instant,
}

impl ApiPoller {
    /// A poller without answers yet, which asks by that client, with those credentials (`user:password`) where there are
    /// any.
    pub fn new(client: Arc<OriginClient>, credentials: Option<&str>) -> Self {
        let shared = Arc::new(SharedAnswers::default());
        let (api, answers) = (OriginApi::new(client, credentials), shared.clone());
        let lookups = Pool::new(
            "API look-up",
            MAX_LOOKUPS,
            STACK,
            move |lookup: ApiLookup| {
                let publishing = api.published(&lookup.candidate, API_TIME);
                answers.take(&lookup, publishing);
            },
        );
        Self { lookups, shared }
    }

    /// Gives what the APIs say. Blocks for a round where the answers at hand are too old: 1.5 s at most, less where
    /// `query.until` comes before, and no longer than the player stays.
    pub fn ask(&self, query: &PublishQuery<'_>, cancel: &CancelToken) -> PublishStatus {
        let has_api = |it: &Candidate| it.origin.api_address().is_some();
        if !query.candidates.iter().any(has_api) {
            return PublishStatus::default();
        }
        let mut state = self.shared.lock();
        loop {
            let now = Instant::now();
            let status = state.status(query, now);
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
            let left = query
                .until
                .map_or(LOOK, |until| until.saturating_duration_since(now));
            let wait = wait.min(left).clamp(Duration::from_millis(1), LOOK);
            let changed = &self.shared.changed;
            changed.wait_for(&mut state, wait);
        }
    }

    /// What that origin's API said of a stream in a round that began after `since`; `None` where there was no such
    /// round yet, or no answer. Does not wait.
    pub fn said_since(
        &self,
        stream: &StreamUrl,
        origin: &OriginId,
        since: Instant,
    ) -> Option<bool> {
        self.shared.lock().said_since(stream, origin, since)
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

    /// Begins a round in the background when the last one is a second old, so that no request has to wait while there
    /// are requests.
    fn refresh(&self, state: MutexGuard<'_, Rounds>, candidates: &[Candidate]) {
        let newest = state.newest.as_ref();
        if newest.is_none_or(|newest| newest.began.elapsed() >= ROUND_GAP) {
            drop(self.begin(state, candidates));
        }
    }

    fn begin<'a>(
        &'a self,
        mut state: MutexGuard<'a, Rounds>,
        candidates: &[Candidate],
    ) -> MutexGuard<'a, Rounds> {
        let asked: Vec<Candidate> = candidates
            .iter()
            .filter(|it| it.origin.api_address().is_some())
            .cloned()
            .collect();
        let doubtful = [OriginState::Late, OriginState::Suspect];
        let awaited = |it: &&Candidate| !doubtful.contains(&it.state);
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
    fn lock(&self) -> MutexGuard<'_, Rounds> {
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
