//! What a look-up learns from an attempt: pins, suspicions, news, and whether another origin is to be asked.

use crate::balancer::{Candidate, Unpinned};
use crate::locate::attempt::{AttemptReason, Outcome, Verdict};
use crate::locate::lookup::OriginLookup;
use crate::locate::wanted::Wanted;
use crate::upstream::OriginError;
use log::debug;
use std::time::{Duration, Instant};

impl OriginLookup<'_> {
    /// As [`OriginLookup::report`] for a request that no response came to. The error's words are what operators see where
    /// it makes the origin suspect.
    pub fn failed(&mut self, error: &OriginError) -> Verdict {
        self.error = error.to_string();
        self.report(match error {
            OriginError::Connect(..) => Outcome::Unreachable,
            OriginError::Closed(_) => Outcome::Closed,
            OriginError::Timeout(_) => Outcome::TimedOut,
            OriginError::Here(..) | OriginError::Protocol(..) | OriginError::Left => {
                Outcome::Failed
            }
        })
    }

    /// Takes what came of the attempt that [`OriginLookup::next`] gave last, and says what is to be done with it.
    pub fn report(&mut self, outcome: Outcome) -> Verdict {
        self.probe = None;
        let Some((at, reason, timeout)) = self.asked.take() else {
            return Verdict::Deliver;
        };
        if let Outcome::Answered(_) = outcome {
            self.shared.history.answered(&at.id);
        }
        match outcome {
            Outcome::Answered(200) => self.served(&at, reason),
            Outcome::Answered(404) => self.not_there(&at, reason),
            Outcome::Answered(500..) => self.failed_there(reason),
            Outcome::Answered(_) => Verdict::Deliver,
            Outcome::Unreachable => {
                self.shared.balancer.suspect(&at.id, &self.error);
                let tried = self.tried.entry(at.id.clone()).or_default();
                // Within a short attempt's time a failed connect may be the fault of a busy machine.
                tried.unreachable = timeout.is_none();
                self.pin_is_gone |= self.is_pin(&at);
                Verdict::TryNext
            }
            Outcome::Closed if reason.is_listed() => Verdict::Refused,
            Outcome::Closed => {
                // Without an API this may be a refusal, too: the next player asks there first again.
                self.keeps_pin |= self.is_pin(&at);
                self.strike(&at, reason);
                Verdict::TryNext
            }
            Outcome::TimedOut => self.timed_out(&at, reason, timeout),
            Outcome::Failed => Verdict::TryNext,
        }
    }

    fn served(&mut self, at: &Candidate, reason: AttemptReason) -> Verdict {
        let Some((stream, format)) = self.name.as_ref().zip(self.request.wanted.pin_format())
        else {
            return Verdict::Deliver;
        };
        self.shared.probes.served(stream, &at.id);
        if reason == AttemptReason::Unlisted
            && let Some(address) = at.origin.http_address()
        {
            let (wanted, now) = (self.request.wanted, Instant::now());
            self.shared
                .history
                .served_unlisted(stream, (&at.id, address), wanted, now);
        }
        let own = self.request.is_own_url && !self.keeps_pin;
        if own || reason.is_listed() || self.pin_is_gone {
            self.shared.balancer.pin(stream, &at.id, format);
        }
        Verdict::Deliver
    }

    fn not_there(&mut self, at: &Candidate, reason: AttemptReason) -> Verdict {
        let Some(stream) = &self.name else {
            return Verdict::TryNext;
        };
        if reason.is_listed() {
            return Verdict::Deliver; // it is published there: the 404 is about this request
        }
        let own_format = self
            .request
            .wanted
            .pin_format()
            .filter(|_| self.request.is_own_url);
        let Some(format) = own_format else {
            // An expired segment or a strange URL moves nobody.
            return match reason.is_guess() {
                true => Verdict::TryNext,
                false => Verdict::Deliver,
            };
        };
        let unpinned = self.shared.balancer.unpin(stream, &at.id, format);
        self.keeps_pin |= unpinned == Unpinned::OtherFormat;
        Verdict::TryNext
    }

    /// The origin answered 5xx.
    fn failed_there(&mut self, reason: AttemptReason) -> Verdict {
        if reason.is_guess() {
            return Verdict::TryNext;
        }
        if self.request.wanted == Wanted::Segment || self.after_5xx.is_some() {
            return Verdict::Deliver;
        }
        self.after_5xx = Some(0);
        Verdict::TryOneOther
    }

    fn timed_out(
        &mut self,
        at: &Candidate,
        reason: AttemptReason,
        timeout: Option<Duration>,
    ) -> Verdict {
        let tried = self.tried.entry(at.id.clone()).or_default();
        tried.timed_out_early = timeout.is_some();
        self.strike(at, reason);
        let Some((stream, format)) = self.name.as_ref().zip(self.request.wanted.pin_format())
        else {
            return match timeout {
                Some(_) => Verdict::TryNext,
                None => Verdict::Deliver,
            };
        };
        self.shared.probes.silent(stream, &at.id);
        if self.request.is_own_url {
            let unpinned = self.shared.balancer.unpin(stream, &at.id, format);
            self.keeps_pin |= unpinned == Unpinned::OtherFormat;
        }
        if reason.is_listed() {
            // The encoder may have left between the API's word and this request.
            let now = Instant::now();
            self.shared.history.failed(stream, &at.id, now);
        }
        Verdict::TryNext
    }

    fn strike(&self, at: &Candidate, reason: AttemptReason) {
        if let Some(stream) = &self.name
            && reason.counts_failures()
            && self.shared.history.strike(&at.id, stream)
        {
            debug!("{} failed three times in a row", at.id);
            let why = format!("{}, for the third stream in a row", self.error);
            self.shared.balancer.suspect(&at.id, &why);
        }
    }

    fn is_pin(&self, at: &Candidate) -> bool {
        self.pin.as_ref().is_some_and(|pin| pin.id == at.id)
    }
}
