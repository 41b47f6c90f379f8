//! srs-stream-proxy: one binary in front of several SRS media servers, the *origins*.
//!
//! Players ask it for HTTP-FLV, HTTP-TS and HLS. It finds the origin that has the stream, asks it, and relays the
//! bytes. Everything is synchronous: one thread serves one request, and a person can follow any request with `curl`
//! and one log line.
//!
//! # The way of a request
//!
//! ```text
//! client ─► listener ─► tiny_http ─► accept loop ─► worker ─► router ─► locate ─► upstream ─► relay ─► client
//!            │ sockets,  (clean heads,           (runtime)   (player)  (which     (ureq)   (io::copy)
//!            │ limits     private)                            │         origin?)
//!            │                                                └► channel: a live stream that is pulled once
//!            └► cache: what is whole in memory
//! ```
//!
//! One direction, no way back. The listener owns the public sockets and reads one head at a time. A head that passes
//! its checks goes through a private tiny_http server to the accept loop, which hands the request to a worker. The
//! worker's handler parses the request once, has an origin located and asked, and writes to the client's socket. The
//! connection's own thread meanwhile watches its client and cancels the origin request when that client leaves.
//!
//! # Rooms and arrows
//!
//! Imports run only downward, and never in a circle; `tests/functional/house.rs` reads every `use crate::` and holds
//! this.
//!
//! ```text
//! main → lab → app → {player, api} → {channel, metrics} → {cache, locate} → {server, upstream}
//!      → {listener, balancer} → {stream, config, files} → {http, media, runtime}
//! ```
//!
//! # Words
//!
//! | word | what it stands for |
//! |---|---|
//! | origin | a media server that streams come from |
//! | viewer | a player that watches a stream now |
//! | heartbeat | the POST by which an origin announces itself, every few seconds |
//! | pin | the origin that a stream was last served from: a hint for the next request |
//! | candidate | an origin that may be asked |
//! | suspect, late, stale | cannot be connected; missed heartbeats; no heartbeat for the TTL |
//! | drain | an operator wants nothing new on an origin |
//! | locate | finding the origin that has a stream, from pins, APIs and probes |
//! | probe | a short request to an origin of which nothing tells that it has the stream |
//! | listener | owner of the public sockets: accepting, limits, deadlines, request heads |
//! | exchange | one request with its client, until its response has ended |
//! | cancel token | by which a client's leaving ends its origin request |
//! | permit | one of a counted number of places, given back when dropped |
//! | relay | copying an origin's body to one player, each read at once |
//! | channel | a live stream that is pulled once and given to all its viewers |
//! | piece | what a channel sends at once: whole FLV tags, TS packets or audio frames |
//! | splice | a channel goes on from another origin connection, in the same responses |
//! | playlist, segment | HLS: the list (`.m3u8`), and the media files that it names |
//! | session | an HLS player's context; its id, `spbhid`, is the stream's URL in base64url |
//! | fill, wait, hit | shared HLS answers: the first request fetches, others wait for it, later ones find it in memory |

mod api;
pub mod app;
mod balancer;
mod cache;
mod channel;
pub mod config;
mod files;
mod http;
pub mod lab;
mod listener;
mod locate;
pub mod logging;
pub mod media;
mod metrics;
mod player;
pub mod runtime;
mod server;
mod stream;
mod upstream;
