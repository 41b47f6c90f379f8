//! Asking one origin's HTTP API which streams it publishes.

use crate::balancer::Candidate;
use crate::http::Headers;
use crate::locate::published::PublishedStreams;
use crate::runtime::warn_once::WarnOnce;
use crate::upstream::OriginClient;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use log::{debug, warn};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Entries that are asked for at once. SRS gives ten unless told, and at least ten.
const PAGE: usize = 1000;
/// Streams that are kept of one origin.
const MAX_STREAMS: usize = 100_000;
/// Largest page, in bytes; an entry takes some 600.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Origins that are warned of, once each, for they refuse us.
const MAX_WARNED: usize = 1024;

/// The client of the origins' APIs.
pub(super) struct OriginApi {
    client: Arc<OriginClient>,
    headers: Headers,
    has_credentials: bool,
    refused: WarnOnce<SocketAddr>,
}

impl OriginApi {
    /// A client that asks by that one, with those credentials (`user:password`) where there are any.
    pub fn new(client: Arc<OriginClient>, credentials: Option<&str>) -> Self {
        let mut headers = Headers::default();
        if let Some(credentials) = credentials {
            // RFC 7617 section 2.
            let basic = format!("Basic {}", STANDARD.encode(credentials));
            headers.push("Authorization", basic.as_bytes());
        }
        Self {
            client,
            headers,
            has_credentials: credentials.is_some(),
            refused: WarnOnce::new(None, MAX_WARNED),
        }
    }

    /// Asks an origin's API for all pages. Blocks, for `time` in all at most. `None` when the API is slow, down, refuses
    /// us or talks rubbish; a refusal is one warning an origin.
    pub fn published(&self, candidate: &Candidate, time: Duration) -> Option<PublishedStreams> {
        let address = candidate.origin.api_address()?;
        let end = Instant::now() + time;
        let mut published = PublishedStreams::default();
        let mut start = 0;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                debug!("API of {address}: too slow");
                return None;
            }
            let page = self
                .page(address, start, left)
                .and_then(|body| published.add_page(&body));
            match page {
                Ok(entries) if entries < PAGE => return Some(published),
                Ok(entries) => start += entries,
                Err(why) => {
                    debug!("API of {address}: {why}");
                    return None;
                }
            }
            if published.len() >= MAX_STREAMS {
                return Some(published);
            }
        }
    }

    fn page(&self, address: SocketAddr, start: usize, time: Duration) -> Result<Vec<u8>, String> {
        // The slash before the query matters: without it SRS answers 302.
        let target = format!("/api/v1/streams/?start={start}&count={PAGE}");
        let response = self
            .client
            .look_up(address, None, &target, &self.headers, time)
            .map_err(|error| error.to_string())?;
        if response.status != 200 {
            if matches!(response.status, 401 | 403) {
                self.warn_of_refusal(address, response.status);
            }
            return Err(format!("status {}", response.status));
        }
        let mut body = Vec::new();
        response
            .body
            .take(MAX_BYTES)
            .read_to_end(&mut body)
            .map_err(|error| error.to_string())?;
        Ok(body)
    }

    fn warn_of_refusal(&self, address: SocketAddr, status: u16) {
        if !self.refused.is_due(address) {
            return;
        }
        let remedy = if self.has_credentials {
            "it does not accept those of PROXY_ORIGIN_API_AUTH"
        } else {
            "it may want a password: PROXY_ORIGIN_API_AUTH=user:password"
        };
        warn!(
            "the API of the origin at {address} refuses this proxy ({status}), which cannot see its streams: {remedy}"
        );
    }
}
