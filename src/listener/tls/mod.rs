//! TLS below a client's connection, by rustls: the certificate that the server shows, the handshake, and the records of
//! one connection. Whoever reads requests and writes responses does not know of it.
//!
//! Kernel TLS (the `tls` ULP of tcp(7)) is not used. It would save one copy of each record, where encrypting by
//! AES-GCM costs several times that, and it would move alerts and key updates into control messages whose handling
//! rustls leaves to its users.

mod acceptor;
mod certificate;
mod session;

pub use acceptor::TlsAcceptor;
pub use certificate::{CertificateError, CertificateFiles};
pub(super) use session::{Arrived, TlsSession};
