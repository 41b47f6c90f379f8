//! What a listener shows and accepts by TLS: one certificate, which can be read again while connections go on.

use super::certificate::{Certificate, CertificateError, CertificateFiles, Stamp};
use super::session::TlsSession;
use crate::runtime::warn_once::WarnOnce;
use log::{error, info, warn};
use parking_lot::{Mutex, RwLock};
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A certificate that expires within this time is warned of: certbot renews 30 days before.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// The same warning comes once in this time.
const WARN_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// Certificates that are remembered for that.
const MAX_WARNED: usize = 16;
/// The one protocol that is spoken (RFC 7301): a client that offers others only, such as h2, is turned away.
const ALPN: &[u8] = b"http/1.1";

/// What a listener shows by TLS, of versions 1.2 and 1.3.
#[derive(Debug)]
pub struct TlsAcceptor {
    files: CertificateFiles,
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Seen>,
    /// By when the certificate expires, so that a new one is warned of, too.
    warned: WarnOnce<SystemTime>,
    failures: AtomicU64,
}

/// The files as they were last looked at.
#[derive(Debug)]
struct Seen {
    /// When they were last read, whatever came of that.
    read: Stamp,
    /// At the last look.
    last: Stamp,
}

/// The certificate of new connections. Its lock is held for a clone.
#[derive(Debug)]
struct Shown(RwLock<Certificate>);

impl ResolvesServerCert for Shown {
    // Whatever name the client asks for: there is one certificate, and a wrong name is for the client to see.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().key.clone())
    }
}

impl TlsAcceptor {
    /// Reads the certificate.
    ///
    /// # Errors
    /// Why the files are no certificate; one line that names the file.
    pub fn new(files: CertificateFiles) -> Result<Arc<Self>, CertificateError> {
        let provider = Arc::new(ring::default_provider());
        let stamp = files.stamp();
        let certificate = files.read(&provider, SystemTime::now())?;
        let shown = Arc::new(Shown(RwLock::new(certificate)));
        let config = config(&provider, shown.clone()).map_err(|error| CertificateError::Unfit {
            path: files.chain.clone(),
            why: format!("cannot be shown: {error}"),
        })?;
        let acceptor = Self {
            files,
            shown,
            config: Arc::new(config),
            provider,
            seen: Mutex::new(Seen {
                read: stamp.clone(),
                last: stamp,
            }),
            warned: WarnOnce::new(Some(WARN_EVERY), MAX_WARNED),
            failures: AtomicU64::new(0),
        };
        acceptor.warn_of_dates();
        Ok(Arc::new(acceptor))
    }

    /// A session with a client that is about to begin its handshake.
    ///
    /// # Errors
    /// What rustls says.
    pub(in crate::listener) fn session(&self) -> Result<TlsSession, rustls::Error> {
        ServerConnection::new(self.config.clone()).map(TlsSession::new)
    }

    /// A handshake has failed.
    pub(in crate::listener) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Handshakes that failed since the start, those of plain HTTP requests too.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How long the certificate is still valid, in seconds; less than 0 once it has expired.
    pub fn seconds_left(&self) -> i64 {
        let expires = self.shown.0.read().expires;
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        match expires.duration_since(SystemTime::now()) {
            Ok(left) => seconds(left),
            Err(over) => -seconds(over.duration()),
        }
    }

    /// Reads the certificate again; one that cannot be used changes nothing and is one line in the log. Connections that
    /// are open go on with what they began with.
    pub fn read_again(&self) {
        let stamp = self.files.stamp();
        self.seen.lock().read = stamp;
        let path = self.files.chain.display();
        match self.files.read(&self.provider, SystemTime::now()) {
            Ok(certificate) => {
                let date = httpdate::fmt_http_date(certificate.expires);
                *self.shown.0.write() = certificate;
                info!("the certificate {path} was read again: it expires on {date}");
                self.warn_of_dates();
            }
            Err(error) => {
                error!("the certificate was not read again, the one of before stays: {error}");
            }
        }
    }

    /// Reads the certificate again where its files have changed since they were last read, and have not since the last
    /// look: chain and key are replaced one after the other. To be called every few seconds.
    pub fn look(&self) {
        let now = self.files.stamp();
        let mut seen = self.seen.lock();
        let is_changed = now != seen.read && now == seen.last;
        seen.last = now;
        drop(seen);
        if is_changed {
            self.read_again();
        }
        self.warn_of_dates();
    }

    fn warn_of_dates(&self) {
        let path = self.files.chain.display();
        let Certificate {
            begins, expires, ..
        } = *self.shown.0.read();
        let left = self.seconds_left();
        let days = left / (24 * 60 * 60);
        if left > SOON.as_secs().cast_signed() && begins <= SystemTime::now() {
            return;
        }
        if !self.warned.is_due(expires) {
            return;
        }
        if left <= 0 {
            error!("the certificate {path} has expired: players refuse it");
        } else if left <= SOON.as_secs().cast_signed() {
            warn!("the certificate {path} expires in {days} days");
        } else {
            // No reason not to start: a host without a battery for its clock begins in 1970.
            let date = httpdate::fmt_http_date(begins);
            warn!(
                "the certificate {path} is valid from {date} on only: is this host's clock right?"
            );
        }
    }
}

fn config(
    provider: &Arc<CryptoProvider>,
    shown: Arc<Shown>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![ALPN.to_vec()];
    // The client keeps what a resumption needs: nothing here grows with clients.
    config.ticketer = ring::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}
