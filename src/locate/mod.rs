//! Finding the origin that has a stream: the pin, the APIs, trying, waiting.
//!
//! # Which origin?
//!
//! 1. **The pin**: where the stream was last served from. It is a hint, not a promise: where its own API does not list
//!    the stream, or says nothing, a listing elsewhere beats it.
//! 2. **The APIs**: all origins that have one are asked which streams they have, at most once a second however many
//!    players wait. A stream that is listed elsewhere moves its pin.
//! 3. **Trying**, where APIs do not tell: the origin with the fewest streams first. The next one is asked after a failed
//!    connect, a close, a timeout, a 5xx or a 404.
//! 4. **Waiting**: where every API says that nobody publishes the stream, the player is held for `PROXY_STREAM_WAIT`.
//!    A fourth of the places for streams may wait; beyond it the 404 comes at once. When the wait is over, at most two
//!    origins that do not list the stream are asked all the same (`PROXY_TRY_UNLISTED`); one that served it, as an edge
//!    does, is asked at once from then on. Then the player gets a 404.
//!
//! Where the origin's own API lists the stream, a closed connection is its refusal of this player: 403, and nobody else
//! is asked. An origin that cannot be connected, or that fails for three streams in a row, is asked last for 5 s
//! (*suspect*); so is one that misses four heartbeats (*late*).
//!
//! # How a request is located
//!
//! [`OriginLocator::lookup`] begins an [`OriginLookup`](lookup::OriginLookup) for one request. [`OriginLookup::next`](lookup::OriginLookup::next) says which origin to
//! ask next, and may block: for a round of API requests, for a publisher, for a first heartbeat. What came of asking goes to
//! [`OriginLookup::report`](lookup::OriginLookup::report), which says whether that is the player's answer or the next origin is to be asked:
//!
//! ```text
//! loop {
//!     match lookup.next() {
//!         NextAttempt::Ask(candidate, timeout) => match lookup.report(ask(candidate, timeout)) { … }
//!         NextAttempt::NotFound | Exhausted | NoOrigin | Left => break,
//!     }
//! }
//! ```
//!
//! The order of attempts is [`order::plan`], a pure function; its table test reads like the rules.
//!
//! # A running stream that breaks off
//!
//! Whoever relays a live stream tells the locator what the relay sees, and may look the stream up again as often as
//! needed:
//!
//! 1. [`OriginLocator::broke_off`] when the stream ended there, [`OriginLocator::hung`] when the origin has
//!    fallen silent. Both void what that origin's API said before; `hung` also puts the origin behind the others for 30 s.
//!    [`OriginLocator::listed_elsewhere`] tells a silent stream's relay whether waiting longer is worth while.
//! 2. A new look-up, with `arrived` now and [`LookupRequest::hold`] set to the time that the viewers will wait: the APIs
//!    are looked at each second, and the first origin that lists the stream is asked, be it another one or the same.
//!    With `hold` set no waiting place is taken: strangers' waiting must not end a running stream.
//! 3. Where no API can tell (none is registered, or all are silent) the look-up ends with `Exhausted` at once: the
//!    caller begins a new one a second later.

mod attempt;
mod history;
mod locator;
mod lookup;
mod names;
mod order;
mod origin_api;
mod poller;
mod probe;
mod publish;
mod published;
mod rounds;
mod shared;
mod wanted;

pub use attempt::{Outcome, Verdict};
pub use locator::OriginLocator;
pub use lookup::{LookupRequest, NextAttempt};
pub use poller::ApiPoller;
pub use shared::LocatorSettings;
pub use wanted::Wanted;
