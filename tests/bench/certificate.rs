//! A certificate for loads by TLS, of nobody's root: wrk does not verify.

use std::path::{Path, PathBuf};

use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::{Result, system};

/// Files of a certificate and its key (ECDSA, P-256), both PEM.
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// Makes a certificate for loopback in `directory`.
pub fn make(directory: &Path) -> Result<Certificate> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)
        .map_err(|error| format!("making a certificate: {error}"))?;
    let made = Certificate {
        chain: directory.join("chain.pem"),
        key: directory.join("key.pem"),
    };
    system::write(&made.chain, cert.pem())?;
    system::write(&made.key, signing_key.serialize_pem())?;
    Ok(made)
}
