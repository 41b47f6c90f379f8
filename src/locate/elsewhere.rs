//! Where else a stream is published.

use crate::balancer::Candidate;
use crate::balancer::origin::OriginState;
use crate::locate::OriginLocator;
use crate::locate::poller::PublishQuery;
use crate::runtime::cancel::CancelToken;
use crate::stream::origin_id::OriginId;
use crate::stream::url::StreamUrl;
use std::time::Instant;

impl OriginLocator {
    /// Another origin than that one, alive, whose API lists the stream. Blocks for a round of look-ups, 1.5 s at most.
    pub fn listed_elsewhere(
        &self,
        stream: &StreamUrl,
        but_not: &OriginId,
        cancel: &CancelToken,
    ) -> Option<Candidate> {
        let mut candidates = self.balancer.candidates();
        candidates.retain(|it| it.id != *but_not && it.state == OriginState::Alive);
        if candidates.is_empty() {
            return None;
        }
        let query = PublishQuery {
            stream,
            candidates: &candidates,
            since: Instant::now(),
            pin: None,
            until: None,
        };
        let status = self.poller.ask(&query, cancel);
        candidates
            .into_iter()
            .find(|it| status.hits.contains(&it.id))
    }
}
