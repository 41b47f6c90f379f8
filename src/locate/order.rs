//! The order of attempts: a pure function of the candidates, of what APIs say, and of what earlier attempts found. It
//! neither reads a clock nor asks anybody. The table test below reads like the rules in [`crate::locate`].

use crate::balancer::origin::OriginState;
use crate::config::TryUnlisted;
use crate::locate::attempt::{Attempt, AttemptReason, Tried};
use crate::locate::wanted::Wanted;
use std::time::Duration;

/// Time for a request to an origin of which nothing is known, while other origins are left to ask.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for a request to an origin whose API misses the stream: an edge takes three seconds to pull one.
pub const UNLISTED_TIMEOUT: Duration = Duration::from_secs(5);
/// Origins that are asked for a stream that their API does not list, at most: each request is an `on_play` there.
pub const MAX_UNLISTED: usize = 2;
/// Origins that are asked after one that has the stream answered 5xx.
const MAX_AFTER_5XX: usize = 1;

/// What an origin's API says of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// The API lists the stream.
    Listed,
    /// The API answered, and does not list the stream.
    Missed,
    /// Nothing: the origin has no API, or the API is silent or refuses us.
    Unknown,
}

/// An origin as the order sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prospect {
    pub state: OriginState,
    pub listing: Listing,
    /// The stream is pinned to the origin.
    pub pinned: bool,
    /// The pin is another player's, made while this player was held.
    pub found: bool,
    /// The origin has served, in this kind of request, what its API did not list.
    pub serves_unlisted: bool,
    /// The origin was silent about this stream a moment ago, or broke it off.
    pub doubted: bool,
    /// The stream failed there within the last seconds, as a relay or another look-up saw.
    pub failed_lately: bool,
    /// What this look-up has tried there.
    pub tried: Tried,
}

/// How far a player's waiting for a publisher has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The player may still be held.
    Possible,
    /// The time is over, or there is nothing to be learnt by waiting.
    Over,
}

/// What the order depends on besides the origins.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    pub wanted: Wanted,
    pub hold: Hold,
    /// Whether the player has been held: who is listed now, has begun to publish meanwhile.
    pub held: bool,
    pub try_unlisted: TryUnlisted,
    /// How many attempts at unlisted origins this look-up has made.
    pub unlisted: usize,
    /// How many attempts came after a 5xx of an origin that has the stream; `None` where there was no such answer.
    pub after_5xx: Option<usize>,
    /// The request is one that an origin holds on purpose (a blocking playlist reload): no short times at the pin.
    pub patient: bool,
}

/// What is done once no attempt is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The player is held, while the APIs are looked at each second.
    Hold,
    /// Nobody publishes the stream.
    NotFound,
    /// All who might have it were asked in vain.
    Exhausted,
}

/// The attempts that are left, in order, and what comes after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub attempts: Vec<Attempt>,
    pub then: Then,
}

/// Orders the attempts. `prospects` come as the balancer orders candidates: alive ones with the fewest streams first.
pub fn plan(prospects: &[Prospect], now: &Circumstances) -> Plan {
    let mut order = Order {
        prospects,
        attempts: Vec::new(),
    };
    let misses = prospects.iter().any(|it| it.listing == Listing::Missed);
    let segment = now.wanted == Wanted::Segment;
    if segment {
        // A segment follows the pin, whatever APIs say.
        order.add(AttemptReason::Pin, |it| it.pinned && !is_suspect(it));
    }
    order.add_listed(now.held);
    let listed = prospects.iter().any(|it| it.listing == Listing::Listed);
    order.add(AttemptReason::Pin, |it| {
        it.pinned && it.listing == Listing::Unknown && it.state == OriginState::Alive
    });
    if now.after_5xx.is_none() {
        if now.wanted == Wanted::Playlist && !listed {
            order.add(AttemptReason::PinMissed, |it| {
                it.pinned && it.listing == Listing::Missed && !is_suspect(it)
            });
        }
        order.add(AttemptReason::Found, |it| it.found);
        order.add(AttemptReason::Edge, |it| {
            it.listing == Listing::Missed && it.serves_unlisted && !it.doubted
        });
    }
    order.add(AttemptReason::Probe, |it| it.listing == Listing::Unknown);
    let then = match now.after_5xx {
        Some(asked) => {
            order.attempts.truncate(MAX_AFTER_5XX.saturating_sub(asked));
            Then::Exhausted
        }
        None => order.add_last(now, misses, segment),
    };
    order.set_timeouts(now, then);
    Plan {
        attempts: order.attempts,
        then,
    }
}

struct Order<'a> {
    prospects: &'a [Prospect],
    attempts: Vec<Attempt>,
}

impl Order<'_> {
    /// Appends the origins that `is` holds for and that were not asked yet: alive ones first, among them those that
    /// are not doubted, among them the pinned one.
    fn add(&mut self, reason: AttemptReason, is: impl Fn(&Prospect) -> bool) {
        self.append(reason, |it| it.tried.count == 0 && is(it));
    }

    fn append(&mut self, reason: AttemptReason, is: impl Fn(&Prospect) -> bool) {
        let here = |at: &usize| self.attempts.iter().all(|it| it.at != *at);
        let mut chosen: Vec<usize> = (0..self.prospects.len())
            .filter(|at| is(&self.prospects[*at]) && here(at))
            .collect();
        chosen.sort_by_key(|at| {
            let it = &self.prospects[*at];
            (it.state != OriginState::Alive, it.doubted, !it.pinned)
        });
        let attempt = |at| Attempt {
            at,
            reason,
            timeout: None,
        };
        self.attempts.extend(chosen.into_iter().map(attempt));
    }

    /// Appends the origins whose API lists the stream. One that was asked when it was not listed is worth asking again.
    fn add_listed(&mut self, held: bool) {
        let worth = |it: &Prospect| {
            it.listing == Listing::Listed && !it.tried.listed && !it.tried.unreachable
        };
        let reason = if held {
            AttemptReason::Published
        } else {
            AttemptReason::Listed
        };
        let first = self.attempts.len();
        self.append(reason, worth);
        if held {
            return;
        }
        for attempt in &mut self.attempts[first..] {
            if self.prospects[attempt.at].pinned {
                attempt.reason = AttemptReason::PinListed;
            }
        }
    }

    /// Appends the attempts that come when neither pins nor APIs have led anywhere.
    fn add_last(&mut self, now: &Circumstances, misses: bool, segment: bool) -> Then {
        // Where a listed origin was asked in vain the stream exists: those without it need not be asked.
        let in_vain = self.prospects.iter().any(|it| it.tried.listed);
        let unlisted = match now.try_unlisted {
            _ if in_vain => false,
            TryUnlisted::First => true,
            TryUnlisted::Last => segment || now.hold == Hold::Over,
            TryUnlisted::Never => false,
        };
        if unlisted {
            let before = self.attempts.len();
            let left = MAX_UNLISTED.saturating_sub(now.unlisted);
            // An edge's 404 may be old by now: the player has been held since.
            self.append(AttemptReason::Unlisted, |it| {
                it.listing == Listing::Missed
                    && it.tried.count <= usize::from(it.serves_unlisted && now.held)
            });
            self.attempts.truncate(before + left);
        }
        // Where others were asked meanwhile, for the stream had failed there: they have not got it.
        self.append(AttemptReason::Again, |it| {
            it.listing == Listing::Listed && it.tried.timed_out_early
        });
        if misses && !segment && now.hold == Hold::Possible {
            return Then::Hold;
        }
        self.append(AttemptReason::Again, |it| {
            it.listing == Listing::Unknown && it.tried.timed_out_early
        });
        if misses && !segment && !in_vain {
            Then::NotFound
        } else {
            Then::Exhausted
        }
    }

    /// Gives short times to those that are asked while others are left.
    fn set_timeouts(&mut self, now: &Circumstances, then: Then) {
        let attempts = self.attempts.len();
        for (n, attempt) in self.attempts.iter_mut().enumerate() {
            let others = n + 1 < attempts || then == Then::Hold;
            let pin_may_hold = now.patient || now.wanted == Wanted::Segment;
            attempt.timeout = match attempt.reason {
                AttemptReason::Pin if pin_may_hold => None,
                AttemptReason::Pin | AttemptReason::Probe => others.then_some(PROBE_TIMEOUT),
                AttemptReason::PinMissed => Some(PROBE_TIMEOUT),
                AttemptReason::Found | AttemptReason::Edge | AttemptReason::Unlisted => {
                    Some(UNLISTED_TIMEOUT)
                }
                // SRS lists a stream for seconds after its encoder has gone silently, and holds whoever comes.
                AttemptReason::PinListed | AttemptReason::Listed | AttemptReason::Published => {
                    let it = &self.prospects[attempt.at];
                    let elsewhere = n + 1 < attempts && !now.patient;
                    (elsewhere && (it.doubted || it.failed_lately)).then_some(PROBE_TIMEOUT)
                }
                AttemptReason::Again => None,
            };
        }
    }
}

fn is_suspect(it: &Prospect) -> bool {
    it.state == OriginState::Suspect
}

#[cfg(test)]
mod tests;
