//! TLS towards origins, by rustls: whom it trusts, and the session of one connection.

use rustix::net::{RecvFlags, recv};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use thiserror::Error;

/// The one protocol that is spoken (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// Which certificates of origins are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginTrust {
    /// Those of the system's roots.
    System,
    /// Those of the roots in a PEM file, and no others.
    File(PathBuf),
    /// All: whoever is between this proxy and an origin can pass for the origin.
    Anybody,
}

/// Why there are no roots: one line that names the file.
#[derive(Debug, Error)]
#[error("{} {why}", path.display())]
pub struct TrustError {
    path: PathBuf,
    why: String,
}

/// The settings of all sessions with origins.
#[derive(Debug)]
pub struct OriginTls {
    provider: Arc<CryptoProvider>,
    /// `None`: the system's roots, which are read when the first origin needs them.
    roots: Option<Roots>,
    config: OnceLock<Arc<ClientConfig>>,
}

#[derive(Debug)]
enum Roots {
    These(Arc<RootCertStore>),
    Anybody,
}

impl OriginTls {
    /// Reads the roots, where they are in a file.
    ///
    /// # Errors
    /// [`TrustError`] where the file holds none.
    pub fn new(trust: &OriginTrust) -> Result<Arc<Self>, TrustError> {
        let roots = match trust {
            OriginTrust::System => None,
            OriginTrust::Anybody => Some(Roots::Anybody),
            OriginTrust::File(path) => {
                let unfit = |why: String| TrustError {
                    path: path.clone(),
                    why,
                };
                let pem = std::fs::read(path)
                    .map_err(|error| unfit(format!("cannot be read: {error}")))?;
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(&pem) {
                    let certificate =
                        certificate.map_err(|error| unfit(format!("is no PEM file: {error}")))?;
                    roots.add(certificate).map_err(|error| {
                        unfit(format!("holds a malformed certificate: {error}"))
                    })?;
                }
                if roots.is_empty() {
                    return Err(unfit("holds no certificate in PEM form".to_owned()));
                }
                Some(Roots::These(Arc::new(roots)))
            }
        };
        Ok(Arc::new(Self {
            provider: Arc::new(ring::default_provider()),
            roots,
            config: OnceLock::new(),
        }))
    }

    fn config(&self) -> io::Result<Arc<ClientConfig>> {
        if let Some(config) = self.config.get() {
            return Ok(config.clone());
        }
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let builder = match &self.roots {
            Some(Roots::These(roots)) => builder.with_root_certificates(roots.clone()),
            Some(Roots::Anybody) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(
                    self.provider.signature_verification_algorithms,
                ))),
            None => {
                let mut roots = RootCertStore::empty();
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    let why = "this system has no root certificates: install ca-certificates, or set PROXY_ORIGIN_CA";
                    return Err(io::Error::other(why));
                }
                builder.with_root_certificates(roots)
            }
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(self.config.get_or_init(|| Arc::new(config)).clone())
    }

    /// Begins a session with the origin at `address`, goes through the handshake, and checks that its certificate is
    /// for `name`, or for the address where there is no name. Blocks for `time` at most.
    ///
    /// # Errors
    /// `TimedOut`, what is wrong with the certificate, or what the socket says.
    pub(super) fn connect(
        &self,
        socket: &TcpStream,
        address: IpAddr,
        name: Option<&str>,
        time: Duration,
    ) -> io::Result<OriginSession> {
        let name = match name {
            Some(name) => ServerName::try_from(name.to_owned()).map_err(io::Error::other)?,
            None => ServerName::IpAddress(address.into()),
        };
        let connection = ClientConnection::new(self.config()?, name).map_err(io::Error::other)?;
        let mut session = OriginSession(Box::new(connection));
        let end = Instant::now().checked_add(time);
        while session.0.is_handshaking() {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.set_write_timeout(left)?;
            session.flush(socket)?;
            if session.0.is_handshaking() {
                socket.set_read_timeout(left)?;
                if session.fill(socket)? == 0 {
                    let why = "it closed the connection in the TLS handshake";
                    return Err(io::Error::other(why));
                }
            }
        }
        session.flush(socket)?;
        Ok(session)
    }
}

/// The TLS of one connection to an origin. The socket is a blocking one, whose timeouts the caller sets.
pub(super) struct OriginSession(Box<ClientConnection>);

impl fmt::Debug for OriginSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OriginSession").finish_non_exhaustive()
    }
}

impl OriginSession {
    /// Encrypts and sends all of `bytes`.
    ///
    /// # Errors
    /// What the socket says.
    pub fn write_all(&mut self, socket: &TcpStream, bytes: &[u8]) -> io::Result<()> {
        self.0.set_buffer_limit(None);
        self.0.writer().write_all(bytes)?;
        self.flush(socket)
    }

    /// Reads decrypted bytes: those that are there, or else what one read of the socket brings. `None` where that was no
    /// whole record; 0 is the end that the origin has announced.
    ///
    /// # Errors
    /// `UnexpectedEof` for an end that was not announced, what is wrong with the records, or what the socket says.
    pub fn read_some(
        &mut self,
        socket: &TcpStream,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        match self.0.reader().read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.map(Some),
        }
        self.fill(socket)?;
        match self.0.reader().read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            read => read.map(Some),
        }
    }

    /// Whether a connection that idles may be used again: it is open, and nothing has come but what TLS sends by itself,
    /// such as tickets. Does not wait.
    pub fn is_open(&mut self, socket: &TcpStream) -> bool {
        loop {
            match self.0.read_tls(&mut Arrived(socket)) {
                Ok(0) => return false,
                Ok(_) => match self.0.process_new_packets() {
                    Ok(state) if state.plaintext_bytes_to_read() > 0 => return false,
                    Ok(state) if state.peer_has_closed() => return false,
                    Ok(_) => {}
                    Err(_) => return false,
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    fn fill(&mut self, mut socket: &TcpStream) -> io::Result<usize> {
        let got = loop {
            match self.0.read_tls(&mut socket) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                got => break got?,
            }
        };
        if let Err(error) = self.0.process_new_packets() {
            // An alert says why.
            let _ = self.flush(socket);
            return Err(io::Error::other(error));
        }
        Ok(got)
    }

    fn flush(&mut self, mut socket: &TcpStream) -> io::Result<()> {
        while self.0.wants_write() {
            match self.0.write_tls(&mut socket) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                sent => drop(sent?),
            }
        }
        Ok(())
    }
}

/// What has come to a socket, without waiting.
struct Arrived<'a>(&'a TcpStream);

impl Read for Arrived<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0, &mut *buffer, RecvFlags::DONTWAIT)?.0)
    }
}

/// Accepts any certificate (`PROXY_ORIGIN_INSECURE`); that the origin has its key is checked all the same.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
