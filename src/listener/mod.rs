//! The listener: everything that faces strangers' sockets.
//!
//! tiny_http cannot face a network: bursts, HTTP/2, huge lengths, unread bodies and slow heads hang or
//! abort it. So the listener owns the public sockets. One thread a connection reads one head at a time
//! under limits, refuses what is doubtful with the right status, keeps the socket for the worker that
//! answers, watches the client meanwhile, and closes or resets at the end. Where the socket is one of HTTPS, all of
//! that goes by TLS, which is below a client's connection and nowhere else. The listener knows nothing of
//! streams, origins or tiny_http: what it lets in goes to a [`RequestQueue`].

mod client;
mod connection;
mod ids;
mod last_head;
#[expect(clippy::module_inception, reason = "the room's main noun")]
mod listener;
mod proxy_protocol;
mod socket;
mod table;
mod tls;
mod transport;

pub use client::{ClientConnection, Ending, ReceivedRequest};
pub use ids::RequestId;
pub use listener::{Admission, Closing, Listener, PublicSocket, Settings};
pub use table::ConnectionTable;
pub use tls::{CertificateError, CertificateFiles, TlsAcceptor};

use crate::http::head::{Rejection, RequestHead};
use std::sync::Arc;

/// What is behind a listener: it takes requests that have passed, and words rejection.
pub trait RequestQueue: Send + Sync {
    /// Whether the body that this head announces will be read, all of it.
    ///
    /// # Errors
    /// The rejection to send when not: 405, 413.
    fn admit_body(&self, head: &RequestHead) -> Result<(), Rejection>;

    /// Most bytes of a body in chunks that will be read for this head; `None`: it is refused with 411.
    fn max_chunked(&self, head: &RequestHead) -> Option<usize>;

    /// Whether the answer to this request may take for ever, so that its client must be watched
    /// closely.
    fn is_long(&self, head: &RequestHead) -> bool;

    /// A client with a request waits to be served. Returns at once.
    ///
    /// # Errors
    /// The rejection to send when nobody can serve it.
    fn enter(&self, client: &Arc<ClientConnection>) -> Result<(), Rejection>;

    /// Answers, and logs, a request that the listener refuses. `id` is for the answer and the log, `head`
    /// is there where one could be read.
    fn refuse(
        &self,
        client: &ClientConnection,
        id: &RequestId,
        rejection: &Rejection,
        head: Option<&RequestHead>,
    );
}
