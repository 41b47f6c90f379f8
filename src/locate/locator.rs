//! The locator: where look-ups begin, and where others tell what they have seen of streams.

use crate::balancer::origin::OriginState;
use crate::balancer::{Balancer, Candidate, OriginId, PinFormat};
use crate::locate::lookup::{LookupRequest, OriginLookup};
use crate::locate::poller::ApiPoller;
use crate::locate::publish::PublishQuery;
use crate::locate::shared::{LocatorSettings, Shared};
use crate::runtime::cancel::CancelToken;
use crate::stream::url::StreamUrl;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Finds the origins that have streams. One for the process.
pub struct OriginLocator {
    shared: Shared,
}

impl OriginLocator {
    /// A locator over those origins, which has their APIs asked by that poller.
    pub fn new(balancer: Arc<dyn Balancer>, poller: ApiPoller, settings: LocatorSettings) -> Self {
        Self {
            shared: Shared::new(balancer, poller, settings),
        }
    }

    /// The origins and pins that look-ups go by.
    pub fn balancer(&self) -> &Arc<dyn Balancer> {
        &self.shared.balancer
    }

    /// The streams that the origins' APIs list. Blocks for 500 ms at most; what is at hand may be some seconds old.
    pub fn listed(&self) -> HashSet<StreamUrl> {
        self.shared
            .poller
            .listed(&self.shared.balancer.candidates())
    }

    /// The name under which the stream is counted and pinned: a vhost that has no stream of that name means the default
    /// vhost's, and whoever asks may make such a vhost up. Does not block.
    pub fn name_of<'a>(&self, stream: &'a StreamUrl) -> Cow<'a, StreamUrl> {
        self.shared.names.name_of(stream)
    }

    /// The origin that the stream was last served from; asking renews the pin. May wait for a Redis.
    pub fn pinned(&self, stream: &StreamUrl) -> Option<Candidate> {
        self.shared.balancer.pinned(&self.name_of(stream))
    }

    /// Pins a stream that has moved while it ran.
    pub fn moved(&self, stream: &StreamUrl, origin: &OriginId, format: PinFormat) {
        let name = self.name_of(stream);
        self.shared.balancer.pin(&name, origin, format);
    }

    /// How long a player is held for a publisher.
    pub fn wait(&self) -> Duration {
        self.shared.settings.wait
    }

    /// Begins a look-up for one request. Returns at once: [`OriginLookup::next`] does the asking.
    pub fn lookup<'a>(&'a self, request: LookupRequest<'a>) -> OriginLookup<'a> {
        OriginLookup::new(&self.shared, request)
    }

    /// Tells that a stream broke off at that origin just now: what its API said before is void, so that
    /// whoever asks next is not sent back there by an answer from before.
    pub fn broke_off(&self, stream: &StreamUrl, origin: &OriginId) {
        let name = self.name_of(stream);
        self.shared.history.failed(&name, origin, Instant::now());
    }

    /// Tells that an origin which was serving a stream has fallen silent: other origins are asked before it for 30 s,
    /// also where its own API still lists the stream.
    pub fn hung(&self, stream: &StreamUrl, origin: &OriginId) {
        self.broke_off(stream, origin);
        self.shared.probes.silent(&self.name_of(stream), origin);
    }

    /// Gives an alive origin other than that one whose API lists the stream now. For a stream that
    /// has fallen silent: where another origin has it, waiting longer is not worth while. Blocks for a round of APIs, 1.5 s
    /// at most, and no longer than the token lives.
    pub fn listed_elsewhere(
        &self,
        stream: &StreamUrl,
        origin: &OriginId,
        cancel: &CancelToken,
    ) -> Option<Candidate> {
        let mut others = self.shared.balancer.candidates();
        others.retain(|it| it.id != *origin && it.state == OriginState::Alive);
        if others.is_empty() {
            return None;
        }
        let now = Instant::now();
        let query = PublishQuery {
            stream,
            candidates: &others,
            since: now,
            news: &self.shared.history.news(&self.name_of(stream), now),
            pin: None,
            until: None,
        };
        let status = self.shared.poller.ask(&query, cancel);
        others.into_iter().find(|it| status.hits.contains(&it.id))
    }
}
