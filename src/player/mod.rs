//! What players ask for: the stream server's router and its handlers.
//!
//! [`router`] parses a request once into a [`request::MediaRequest`] and hands it to a handler: [`live`] for streams
//! without an end, [`hls`] for playlists and segments, [`pages`] for static files, [`live_list`] for what is live. The handlers get an answer from an
//! origin by [`fetch`] and pass it on by [`relay`]. [`admission`] asks the hooks who may watch. What they share is in [`context::PlayerContext`].

mod admission;
pub mod context;
mod fetch;
pub mod hls;
pub mod live;
pub mod live_list;
pub mod live_relay;
mod pages;
mod public_hosts;
pub mod public_url;
mod reach;
mod redirect;
mod relay;
mod request;
mod route;
pub mod router;
pub mod waits;
