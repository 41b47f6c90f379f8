//! HLS: playlists are read whole and rewritten, segments are relayed from the origin of their session. Both are
//! shared by players who ask for the same.

mod cached;
mod filling;
mod playlist;
mod public_hosts;
mod redirect;
mod rewrite;
mod segment;
pub mod session;
mod syntax;
mod variables;

pub use playlist::playlist;
pub use segment::segment;
