//! A question to the APIs, which origins publish a stream, and the answer.

use crate::balancer::origin::OriginState;
use crate::balancer::{Candidate, OriginId};
use crate::stream::url::StreamUrl;
use std::time::Instant;

/// What the APIs say of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishStatus {
    /// Origins that publish the stream, those with the exact vhost where there are any.
    pub hits: Vec<OriginId>,
    /// Whether the hits are those with the exact vhost.
    pub exact: bool,
    /// Origins whose API answered, and does not list the stream.
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
    /// Origins where the stream failed, and when: what their APIs said before that moment is void.
    pub news: &'a [(OriginId, Instant)],
    /// The origin that the stream is pinned to, where the question is whether the stream has moved.
    pub pin: Option<&'a Candidate>,
    /// When whatever is known then will do. `None`: no such moment.
    pub until: Option<Instant>,
}

impl PublishQuery<'_> {
    /// Whether the answers at hand settle the question, though others are still on their way.
    pub(super) fn is_settled_by(&self, status: &PublishStatus) -> bool {
        if let Some(pin) = self.pin {
            if pin.state == OriginState::Alive && status.hits.contains(&pin.id) {
                return true;
            }
            if !status.misses.contains(&pin.id) {
                return false;
            }
        }
        // A draining, late or suspect origin is for when no other has the stream, and the default vhost's stream for
        // when no origin has the exact one.
        let good = |it: &Candidate| it.state == OriginState::Alive && status.hits.contains(&it.id);
        status.exact && self.candidates.iter().any(good)
    }

    /// Whether the stream failed at that origin after that moment.
    pub(super) fn is_void(&self, origin: &OriginId, said: Instant) -> bool {
        let after = |(id, at): &(OriginId, Instant)| id == origin && *at >= said;
        self.news.iter().any(after)
    }
}
