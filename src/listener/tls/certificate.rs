//! The certificate chain and its key, from PEM files.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The largest file that is read, in bytes: whatever is longer is no certificate. A chain of five has 10 KiB.
const MAX_FILE: u64 = 1024 * 1024;

/// Where the certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the server's certificate, then those between it and the root.
    pub chain: PathBuf,
    /// PEM: the private key. `None`: it is in the file of the chain.
    pub key: Option<PathBuf>,
}

/// A certificate chain with its key, ready to be shown.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    pub key: Arc<CertifiedKey>,
    /// When the first certificate of the chain expires.
    pub expires: SystemTime,
    /// When the last one begins to be valid.
    pub begins: SystemTime,
}

/// Why files are no certificate: one line that names the file.
#[derive(Debug, Error)]
pub enum CertificateError {
    #[error("cannot read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{} {why}", path.display())]
    Unfit { path: PathBuf, why: String },
}

/// By which a change of the files is seen: of each the device, inode, size and time of change.
pub(super) type Stamp = Vec<Option<(u64, u64, u64, i64, i64)>>;

impl CertificateFiles {
    fn key_path(&self) -> &Path {
        self.key.as_ref().unwrap_or(&self.chain)
    }

    /// What the files look like now. `None` in it is a file that is not there.
    pub(super) fn stamp(&self) -> Stamp {
        let stamp = |path: &Path| {
            let file = fs::metadata(path).ok()?; // of what a link leads to
            let (size, seconds, nanos) = (file.size(), file.mtime(), file.mtime_nsec());
            Some((file.dev(), file.ino(), size, seconds, nanos))
        };
        vec![stamp(&self.chain), stamp(self.key_path())]
    }

    /// Reads and checks both files at the time `now`.
    ///
    /// # Errors
    /// A [`CertificateError`]: a file is missing or holds none, the key is another certificate's, or a certificate of
    /// the chain has expired.
    pub(super) fn read(
        &self,
        provider: &CryptoProvider,
        now: SystemTime,
    ) -> Result<Certificate, CertificateError> {
        let of_chain = |why: String| unfit(&self.chain, why);
        let text = read(&self.chain)?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| of_chain(format!("is no PEM file: {error}")))?;
        if chain.is_empty() {
            return Err(of_chain("holds no certificate in PEM form".to_owned()));
        }
        let (mut expires, mut begins) = (None, SystemTime::UNIX_EPOCH);
        for der in &chain {
            let (_, certificate) = X509Certificate::from_der(der)
                .map_err(|error| of_chain(format!("holds a malformed certificate: {error}")))?;
            let validity = certificate.validity();
            let (from, to) = (
                time(validity.not_before.timestamp()),
                time(validity.not_after.timestamp()),
            );
            if to <= now {
                let (name, date) = (certificate.subject(), httpdate::fmt_http_date(to));
                return Err(of_chain(format!(
                    "holds the certificate of \"{name}\", which expired on {date}"
                )));
            }
            expires = Some(expires.map_or(to, |least: SystemTime| least.min(to)));
            begins = begins.max(from);
        }
        let path = self.key_path();
        let text = read(path)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => unfit(
                path,
                "holds no private key in PEM form (one that is encrypted cannot be used)"
                    .to_owned(),
            ),
            error => unfit(path, format!("holds no private key: {error}")),
        })?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            let why = match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("holds another key than that of {}", self.chain.display())
                }
                error => format!("holds a key that cannot be used: {error}"),
            };
            unfit(path, why)
        })?;
        Ok(Certificate {
            key: Arc::new(key),
            expires: expires.unwrap_or(now),
            begins,
        })
    }
}

fn unfit(path: &Path, why: String) -> CertificateError {
    CertificateError::Unfit {
        path: path.to_owned(),
        why,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut text))
        .map_err(|error| CertificateError::Read {
            path: path.to_owned(),
            error,
        })?;
    Ok(text)
}

/// The time so many seconds after, or before, 1970. What is too far away for the system's clock is 1970.
fn time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(distance),
        false => SystemTime::UNIX_EPOCH.checked_add(distance),
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}
