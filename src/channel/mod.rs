//! Live channels: one origin connection for all viewers of a stream in one format.
//!
//! ```text
//! origin ══ one response ══► puller ──► stitcher ──► ring of pieces ──► senders: calls that do not wait ──► viewers
//!                              │        (units)                  │       at the live edge
//!            ends or stalls:   │                                 └──► catch-up workers: blocking, for those behind
//!            locate, splice ◄──┘
//! ```
//!
//! The first viewer's request fetches ([`First`]), on a cancel token that belongs to all who wait. A puller's
//! thread reads the origin's body, cuts it at unit boundaries and before each key frame into pieces, each rendered
//! once as an HTTP chunk, and adds them to the ring. Viewers at the live edge are sent to by that thread, or by
//! sender threads where they are many; a viewer whose socket takes no more goes to a worker until it is at the
//! edge again. When the origin breaks off, the puller looks for the stream again and goes on in the same
//! responses.
//!
//! What does not parse as its format stays with its first viewer, byte for byte, and is shared with nobody.

mod budget;
mod hands;
mod live_channel;
mod piece;
mod puller;
mod ring;
mod senders;
mod settings;
mod stitch;
mod table;
mod viewer;

pub use live_channel::{Channel, ChannelView, Joined, Opened, Reopen, Source};
pub use puller::First;
pub use settings::{ChannelKey, ChannelSettings, ChannelTotals, OriginConnection};
pub use table::{Channels, Entry};
pub use viewer::{Delivery, Viewer};
