//! Why the proxy does not start.

use crate::balancer::redis::RedisError;
use crate::listener::CertificateError;
use crate::server::endpoint::ListenError;
use crate::upstream::TrustError;
use std::io;
use thiserror::Error;

/// Why the proxy does not start: one line that names what.
#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot serve by HTTPS: {0}")]
    Certificate(#[source] CertificateError),
    #[error("cannot verify origins (PROXY_ORIGIN_CA): {0}")]
    Trust(#[from] TrustError),
    #[error("cannot share origins: {0}")]
    Redis(#[source] RedisError),
    #[error("cannot go on from the process that is replaced: {0}")]
    Handover(#[source] io::Error),
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}
