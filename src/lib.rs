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
//!            └► cache: what is whole in memory is answered on the connection's own thread
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
//! main → lab → {app, dist} → {player, api} → {channel, metrics} → {cache, locate, hooks} → {server, upstream}
//!      → {listener, balancer} → {stream, config, files} → {http, media, runtime}
//! ```
//!
//! # In front of strangers
//!
//! | what comes | what happens |
//! |---|---|
//! | a body that nobody reads, chunked or of any length (10^12, 2^64 …) | 405, 411, 413 or 400; nothing of it is read as a request, the connection is closed |
//! | two lengths, a length and chunked, an unknown coding, a space before a colon | 400, closed |
//! | a head over 32 KiB, over 100 lines, a URL over 8 KiB | 431, 414; a connection holds no more than its head |
//! | a head that trickles, a connection that says nothing | 408 after 10 s; closed after `PROXY_IDLE_TIMEOUT` |
//! | a TLS handshake that trickles, or is garbage | closed after 10 s; an alert, closed |
//! | plain HTTP to the port of HTTPS | 400 that says so, closed |
//! | HTTP/2 with prior knowledge, other versions | 505, closed |
//! | no `Host`, two, a bad one, control characters, folded lines | 400 |
//! | pipelined requests | one at a time; the rest waits in the socket |
//! | a client that stops reading | dropped after `PROXY_STALL_TIMEOUT`; it holds its socket's buffers, and delays nobody |
//! | a client that leaves, also from a silent stream | its origin connection is closed within a second |
//! | more connections than the host can bear | the bound comes from descriptors and threads, and is in the log's first lines; idle connections make room, others wait |
//! | descriptors or threads run out | what runs goes on, and it serves again when there are some |
//! | names of streams that nobody has, a hundred thousand of them | 404; memory stays |
//! | an origin that sends garbage, half a body, a reset, an endless head | 502, or a body that is visibly broken off; never one that looks whole |
//! | an origin that leads back here | 508 |
//! | a web page that reaches for the System API | no CORS, foreign `Origin` and rebound `Host` refused |
//! | made-up sessions of viewers (`spbhs`), where hooks are set | a playlist's is a new viewer, asked for like any other, a segment's is a 403; 100 000 sessions, the oldest make room |
//! | somebody else at the System API | 403 from other networks; with a token 401 without it, compared in constant time, never in a log |
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
//! | suspect, late, stale | cannot be connected, or failed for three streams in a row; missed heartbeats; no heartbeat for the TTL |
//! | drain | an operator wants nothing new on an origin |
//! | locate | finding the origin that has a stream, from pins, APIs and probes |
//! | probe | a short request to an origin of which nothing tells that it has the stream |
//! | listener | owner of the public sockets: accepting, limits, deadlines, TLS, request heads |
//! | exchange | one request with its client, until its response has ended |
//! | cancel token | by which a client's leaving ends its origin request |
//! | permit | one of a counted number of places, given back when dropped |
//! | relay | copying an origin's body to one player, each read at once |
//! | channel | a live stream that is pulled once and given to all its viewers |
//! | piece | what a channel sends at once: whole FLV tags, TS packets or audio frames |
//! | splice | a channel goes on from another origin connection, in the same responses |
//! | playlist, segment | HLS: the list (`.m3u8`), and the media files that it names |
//! | session | an HLS player's context; its id, `spbhid`, is the stream's URL in base64url |
//! | hook | another program that decides who may watch (`on_play`), or is told who has watched (`on_stop`) |
//! | watch | a viewer's watching, from its `on_play` to its `on_stop` |
//! | fill, wait, hit | shared HLS answers: the first request fetches, others wait for it, later ones find it in memory |

mod api;
pub mod app;
mod balancer;
mod cache;
mod channel;
pub mod config;
pub mod dist;
mod files;
mod hooks;
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
