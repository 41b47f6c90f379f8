//! HLS: playlists are read whole and rewritten, segments are relayed from the origin of their session. Both are
//! shared by players who ask for the same.
//!
//! [`playlist`](playlist()) answers with a playlist: [`finding`] gets it from an origin by [`reading`], [`timelines`] let its
//! numbers go on where the last origin's ended, and [`rewrite`](mod@rewrite) leads its URIs back here. [`segment`](segment()) answers with what they
//! name.

mod cached;
mod directories;
mod filling;
mod finding;
mod last;
mod personal;
mod playlist;
mod reading;
mod reload;
pub(super) mod rewrite;
mod segment;
mod send;
pub mod session;
pub mod state;
mod syntax;
mod timeline;
mod timelines;
mod variables;

pub use cached::answer_now;
pub use playlist::playlist;
pub use segment::segment;
