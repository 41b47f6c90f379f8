//! HTTPS for tests: certificates of a root of their own, and ways to talk by TLS.

use super::SOON;
use super::proxy::{Proxy, ProxyBuilder};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A root that nobody else trusts.
pub struct TestRoot {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    /// The root's certificate, for clients.
    pub pem: String,
}

impl TestRoot {
    pub fn new() -> TestRoot {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        name(&mut params, "root of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("a root");
        TestRoot {
            der: root.der().clone(),
            pem: root.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for `localhost` and `127.0.0.1` that is valid for so many days more, and its key; both PEM.
    pub fn issue(&self, days: i64) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        name(&mut params, "localhost");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = date_time_ymd(1970, 1, 1) + now.expect("after 1970");
        let span = DAY * u32::try_from(days.unsigned_abs()).expect("few days");
        params.not_before = now - DAY * 365;
        params.not_after = if days < 0 { now - span } else { now + span };
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// The root's certificate.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// A client's settings that trust this root alone.
    pub fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("the root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

/// Without a name of its own, a certificate would pass for its root's.
fn name(params: &mut CertificateParams, name: &str) {
    params.distinguished_name.push(DnType::CommonName, name);
}

/// The SHA-256 hash of the public key in a certificate's file, in base64: by it browsers take a certificate for good.
pub fn key_hash(pem: &str) -> String {
    use base64::Engine as _;
    use x509_parser::prelude::{FromDer, X509Certificate};
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let sha256 = suite
        .tls13()
        .expect("a suite of TLS 1.3")
        .common
        .hash_provider;
    let hash = sha256.hash(certificate.public_key().raw);
    base64::engine::general_purpose::STANDARD.encode(hash.as_ref())
}

impl ProxyBuilder {
    /// Has the proxy serve players by HTTPS, too, with a certificate of `root` in one file.
    pub fn https(self, root: &TestRoot) -> ProxyBuilder {
        let (certificate, key) = root.issue(90);
        self.file("tls.pem", certificate + &key)
            .env("PROXY_HTTPS_SERVER", "127.0.0.1:0")
            .env("PROXY_HTTPS_CERT", "tls.pem")
    }
}

impl Proxy {
    /// Where players connect by HTTPS.
    #[track_caller]
    pub fn https(&self) -> SocketAddr {
        const WORDS: &str = "listening for players by HTTPS on ";
        let line = self.wait_for_log(|line| line.contains(WORDS), SOON);
        let address = line.split(WORDS).nth(1).expect("an address");
        address.trim().parse().expect("an address")
    }
}

/// A client by TLS, after its handshake.
///
/// # Panics
/// When the handshake fails.
#[track_caller]
pub fn connect(
    server: SocketAddr,
    config: &Arc<ClientConfig>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let stream = TcpStream::connect_timeout(&server, SOON).expect("connecting");
    stream.set_nodelay(true).expect("no delay");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.set_write_timeout(Some(SOON)).expect("a timeout");
    let mut tls = StreamOwned::new(session(config), stream);
    tls.conn
        .complete_io(&mut tls.sock)
        .expect("a TLS handshake");
    tls
}

fn session(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(config.clone(), name).expect("a session")
}

/// Takes plain connections and leads each through TLS to a server, so that any test client speaks TLS. It is strict
/// about ends: the server's `close_notify` becomes a FIN, its end without one a reset; the client's FIN becomes a
/// `close_notify` and a FIN, its reset a reset.
pub struct Tunnel {
    /// Where plain clients connect.
    pub addr: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Tunnel {
    pub fn start(server: SocketAddr, root: &TestRoot) -> Tunnel {
        let config = root.client();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binding");
        let addr = listener.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        std::thread::spawn(move || {
            for plain in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let config = config.clone();
                std::thread::spawn(move || {
                    let Ok(secure) = TcpStream::connect_timeout(&server, SOON) else {
                        return reset(&plain);
                    };
                    // An error has been passed on as a reset.
                    let _ = Pair::new(plain, secure, &config).run();
                });
            }
        });
        Tunnel { addr, stop }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// The two ends of one connection through a tunnel.
struct Pair {
    plain: TcpStream,
    secure: TcpStream,
    tls: ClientConnection,
    /// Bytes of the server for the client.
    pending: Vec<u8>,
    client_ended: bool,
    server_ended: bool,
}

impl Pair {
    fn new(plain: TcpStream, secure: TcpStream, config: &Arc<ClientConfig>) -> Pair {
        for stream in [&plain, &secure] {
            stream.set_nodelay(true).expect("no delay");
            stream.set_nonblocking(true).expect("not blocking");
        }
        Pair {
            plain,
            secure,
            tls: session(config),
            pending: Vec::new(),
            client_ended: false,
            server_ended: false,
        }
    }

    /// Carries bytes until both have ended, or one breaks off.
    fn run(&mut self) -> std::io::Result<()> {
        let carried = self.carry();
        if carried.is_err() {
            reset(&self.plain);
            reset(&self.secure);
        }
        carried
    }

    fn carry(&mut self) -> std::io::Result<()> {
        let mut piece = vec![0; 16 * 1024];
        loop {
            self.flush()?;
            if self.server_ended && self.pending.is_empty() {
                // What is shut for reading ends the client's part, too: HTTP has no more to say.
                self.plain.shutdown(Shutdown::Write)?;
                return self.linger();
            }
            let takes_more = !self.tls.wants_write() && !self.client_ended;
            let gives_more = self.pending.is_empty() && !self.server_ended;
            let mut of_plain = PollFlags::empty();
            of_plain.set(PollFlags::IN, takes_more);
            of_plain.set(PollFlags::OUT, !self.pending.is_empty());
            let mut of_secure = PollFlags::empty();
            of_secure.set(PollFlags::IN, gives_more);
            of_secure.set(PollFlags::OUT, self.tls.wants_write());
            let mut fds = [
                PollFd::new(&self.plain, of_plain),
                PollFd::new(&self.secure, of_secure),
            ];
            poll(&mut fds, Some(&LOOK))?;
            let broken = fds[0].revents().contains(PollFlags::ERR);
            if broken {
                return Err(ErrorKind::ConnectionReset.into());
            }
            if takes_more && !self.tls.is_handshaking() {
                match self.plain.read(&mut piece) {
                    Ok(0) => {
                        self.client_ended = true;
                        self.tls.send_close_notify();
                        self.flush()?;
                        let _ = self.secure.shutdown(Shutdown::Write);
                    }
                    Ok(got) => self.tls.writer().write_all(&piece[..got])?,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            if gives_more {
                match self.tls.read_tls(&mut self.secure) {
                    Ok(_) => {
                        let state = self.tls.process_new_packets();
                        let state = state.map_err(std::io::Error::other)?;
                        let mut bytes = vec![0; state.plaintext_bytes_to_read()];
                        self.tls.reader().read_exact(&mut bytes)?;
                        self.pending = bytes;
                        match self.tls.reader().read(&mut [0; 1]) {
                            Ok(0) => self.server_ended = true,
                            Ok(_) => unreachable!("all was read"),
                            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                            Err(error) => {
                                // An end without a close_notify: what came before it still goes on.
                                let _ = self.plain.set_nonblocking(false);
                                let _ = self.plain.write_all(&self.pending);
                                return Err(error);
                            }
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Writes what the sockets take.
    fn flush(&mut self) -> std::io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.secure) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    // The server takes no more; what it has sent before counts all the same.
                    self.client_ended = true;
                    self.tls.write_tls(&mut std::io::sink())?;
                }
            }
        }
        while !self.pending.is_empty() {
            match self.plain.write(&self.pending) {
                Ok(some) => drop(self.pending.drain(..some)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes what the client still sends, so that its socket is not reset before it has read all.
    fn linger(&mut self) -> std::io::Result<()> {
        self.plain.set_nonblocking(false)?;
        self.plain.set_read_timeout(Some(SOON))?;
        let mut taken = 0;
        while taken < LINGER_BYTES {
            match self.plain.read(&mut [0; 4096])? {
                0 => return Ok(()),
                got => taken += got,
            }
        }
        Err(ErrorKind::ConnectionReset.into())
    }
}

/// How much a client may send after the server's end.
const LINGER_BYTES: usize = 256 * 1024;

const LOOK: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};
