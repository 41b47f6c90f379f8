//! TLS below a client's connection, by rustls: the certificate that the server shows, the handshake, and the records of
//! one connection. Whoever reads requests and writes responses does not know of it.
//!
//! Kernel TLS (the `tls` ULP of tcp(7)) is not used. It would save a copy of each record and move alerts and key updates into
//! control messages whose handling rustls leaves to its users. What there is to save is little: 250 viewers of a live
//! stream of 340 kbit/s took 208 ms of CPU a second by TLS, 190 ms without; a segment of 1 MB from memory took 0.55 ms and
//! 0.33 ms, the cipher included, which would stay.

mod acceptor;
mod certificate;
mod session;

pub use acceptor::TlsAcceptor;
pub use certificate::{CertificateError, CertificateFiles};
pub(super) use session::{Arrived, TlsSession};
