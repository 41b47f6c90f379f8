//! Rounds and their answers: what was asked of which API when, what it said, and whether that is new enough. The times
//! are handed in.

use crate::balancer::{Candidate, OriginId};
use crate::locate::publish::{PublishQuery, PublishStatus};
use crate::locate::published::PublishedStreams;
use crate::stream::url::{ApiMatch, StreamUrl};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Time for one API, for all its pages.
pub const API_TIME: Duration = Duration::from_millis(500);
/// A round begins at most this often.
pub const ROUND_GAP: Duration = Duration::from_secs(1);
/// A hit is believed for this long.
pub const HIT_TIME: Duration = Duration::from_secs(2);

/// The newest rounds, and the newest answer of each API.
#[derive(Default)]
pub(super) struct Rounds {
    pub number: u64,
    /// The newest round.
    pub newest: Option<Round>,
    /// When the round before the newest began: that one is over.
    pub before: Option<Instant>,
    pub answers: HashMap<OriginId, Answer>,
}

/// All APIs asked at the same time.
pub(super) struct Round {
    pub began: Instant,
    /// The origins whose APIs were asked.
    pub asked: HashSet<OriginId>,
    /// Those among them that have neither answered nor failed. Suspect ones are not waited for.
    pub awaited: HashSet<OriginId>,
}

/// What one API said.
pub(super) struct Answer {
    pub round: u64,
    /// When its round began.
    pub began: Instant,
    /// `None` when the API was slow, down, refused us or talked rubbish: that rules nothing out.
    pub publishing: Option<PublishedStreams>,
    /// The API took all the time that it had.
    pub late: bool,
}

/// What is still missing for an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lack {
    Nothing,
    /// The end of the newest round, or the moment of the next.
    Time(Duration),
    Round,
}

fn since(then: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(then)
}

impl Round {
    /// Whether no answer is waited for any more.
    pub fn is_over(&self, now: Instant) -> bool {
        self.awaited.is_empty() || since(self.began, now) >= API_TIME
    }
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

impl Rounds {
    /// What the fresh answers say of the stream, without those that news has made void.
    pub fn status(&self, query: &PublishQuery<'_>, now: Instant) -> PublishStatus {
        let mut exact = Vec::new();
        let mut default = Vec::new();
        let mut misses = Vec::new();
        for (id, answer) in &self.answers {
            let fresh = answer.is_fresh(now) && !query.is_void(id, answer.began);
            let Some(publishing) = answer.publishing.as_ref().filter(|_| fresh) else {
                continue;
            };
            match publishing.has(query.stream) {
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

    /// What the origin's API said of a stream in a round that began after `since`; `None` where there was no such
    /// round, or no answer in it.
    pub fn said_since(
        &self,
        stream: &StreamUrl,
        origin: &OriginId,
        since: Instant,
    ) -> Option<bool> {
        let answer = self.answers.get(origin).filter(|it| it.began > since)?;
        let publishing = answer.publishing.as_ref()?;
        Some(publishing.has(stream) != ApiMatch::No)
    }

    fn fresh_answer(&self, of: &Candidate, now: Instant) -> Option<&Answer> {
        self.answers.get(&of.id).filter(|it| it.is_fresh(now))
    }

    /// Whether none of the candidates has an API: nothing is to be learnt by waiting for the next round. A player that
    /// is held for a publisher waits for that round all the same, for an API may come.
    pub fn knows_no_api(&self, query: &PublishQuery<'_>, now: Instant) -> bool {
        let no_api = |it: &Candidate| {
            let answer = self.fresh_answer(it, now);
            it.origin.api_address().is_none() || answer.is_some_and(Answer::is_no_api)
        };
        query.until.is_none() && query.candidates.iter().all(no_api)
    }

    /// What is missing until the answers are new enough for the query.
    pub fn lack(&self, query: &PublishQuery<'_>, now: Instant) -> Lack {
        let Some(newest) = &self.newest else {
            return Lack::Round;
        };
        // An origin that has come, or come again, since a round began was not asked in it.
        let knows = |pin: &Candidate| {
            let answer = self.fresh_answer(pin, now);
            answer.is_some_and(|answer| !query.is_void(&pin.id, answer.began))
        };
        let knows_pin = query.pin.is_none_or(knows);
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

#[cfg(test)]
mod tests;
