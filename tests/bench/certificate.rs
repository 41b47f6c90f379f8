//! A certificate for loads by TLS, of nobody's root: wrk does not verify, and players are given it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::{Result, system};

/// Files of a certificate and its key (ECDSA, P-256), both PEM.
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Settings of players, who accept this certificate alone. Each has a handshake of its own, as different people do:
    /// none resumes another's session.
    pub fn players(&self) -> Result<Arc<ClientConfig>> {
        let failed = |error: rustls::Error| format!("trusting the certificate: {error}");
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).map_err(failed)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// Makes a certificate for loopback in `directory`.
pub fn make(directory: &Path) -> Result<Certificate> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)
        .map_err(|error| format!("making a certificate: {error}"))?;
    let made = Certificate {
        chain: directory.join("chain.pem"),
        key: directory.join("key.pem"),
        der: cert.der().clone(),
    };
    system::write(&made.chain, cert.pem())?;
    system::write(&made.key, signing_key.serialize_pem())?;
    Ok(made)
}
