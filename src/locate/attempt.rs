//! One attempt: which origin is asked, why, for how long, and what came of it.

use std::time::Duration;

/// Why an origin is asked. One look-up makes several attempts, each for its own reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptReason {
    /// The stream is pinned to the origin, and its API lists the stream.
    PinListed,
    /// The stream is pinned to the origin, and its API says nothing: there is none, or it is silent or refuses us.
    Pin,
    /// The stream is pinned to the origin, whose API no longer lists it: SRS keeps the last playlist for up to 120 s.
    PinMissed,
    /// The origin's API lists the stream.
    Listed,
    /// The origin's API began to list the stream while the player was held.
    Published,
    /// Another player's attempt found the stream there while this player was held.
    Found,
    /// The origin's API misses the stream, but the origin has served what its API did not list: an edge, or files.
    Edge,
    /// Neither a pin nor an API tells anything of the origin: a speculative request.
    Probe,
    /// The origin's API misses the stream, and `PROXY_TRY_UNLISTED` allows a request all the same.
    Unlisted,
    /// The origin sent no head within a short attempt, and nothing has ruled it out: the whole time now.
    Again,
}

impl AttemptReason {
    /// Whether the origin's own API lists the stream: its close and its 404 are then the player's answer.
    pub fn is_listed(self) -> bool {
        matches!(self, Self::PinListed | Self::Listed | Self::Published)
    }

    /// Whether the request is a guess, so that any failure sends it on to the next origin.
    pub fn is_guess(self) -> bool {
        !self.is_listed() && self != Self::Pin
    }

    /// Whether a close or a timeout tells that something is wrong with the origin. SRS holds requests for streams that
    /// nobody publishes, and closes those that it refuses, in good health.
    pub(super) fn counts_failures(self) -> bool {
        matches!(self, Self::Pin | Self::Probe | Self::Again)
    }

    /// How the origin was found, in one of the words that `srs_proxy_picks_total` has.
    pub fn word(self) -> &'static str {
        match self {
            Self::PinListed | Self::Pin | Self::PinMissed => "pinned",
            Self::Listed => "api",
            Self::Published | Self::Found => "waited",
            Self::Edge | Self::Probe | Self::Unlisted | Self::Again => "tried",
        }
    }
}

/// An origin to ask: the next in the order, or one of those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The origin's index among the candidates.
    pub at: usize,
    pub reason: AttemptReason,
    /// Time for connecting and for the response's head. `None`: as long as the settings allow.
    pub timeout: Option<Duration>,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The origin sent a response head with this status.
    Answered(u16),
    /// The origin could not be connected.
    Unreachable,
    /// The origin took the request and closed the connection without a head.
    Closed,
    /// The origin sent no head in time.
    TimedOut,
    /// The origin broke the protocol, or this host could not ask it.
    Failed,
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The response, or the failure, is the player's answer.
    Deliver,
    /// The origin has the stream and refuses this player (SRS closes without a head): 403, and nobody else is asked.
    Refused,
    /// The next origin is asked. The response is kept: it is the answer where no other comes.
    TryNext,
    /// The origin has the stream, and is ill: one other is asked. This response is the answer unless that one's is a
    /// better one.
    TryOneOther,
}

/// What came of the attempts that one look-up has made at one origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tried {
    /// How many attempts there were.
    pub count: usize,
    /// One of them was made because the origin's API listed the stream.
    pub listed: bool,
    /// The last one could not connect although it had the settings' time.
    pub unreachable: bool,
    /// The last one got no head within a short time.
    pub timed_out_early: bool,
}
