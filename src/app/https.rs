//! HTTPS towards players and operators: the certificate of the settings, and the sockets that show it.

use super::error::StartError;
use super::inherited::Inherited;
use crate::config::Config;
use crate::listener::{CertificateFiles, PublicSocket, TlsAcceptor};
use crate::server::endpoint::listen;
use log::warn;
use std::net::TcpListener;
use std::sync::Arc;

/// Reads the certificate of the settings; `None` where there is none.
///
/// # Errors
/// [`StartError::Certificate`] where the files are no certificate.
pub fn acceptor(config: &Config) -> Result<Option<Arc<TlsAcceptor>>, StartError> {
    let Some(chain) = config.https_cert.clone() else {
        return Ok(None);
    };
    let key = config.https_key.clone();
    let acceptor = TlsAcceptor::new(CertificateFiles { chain, key });
    acceptor.map(Some).map_err(StartError::Certificate)
}

/// The players' listening sockets: `plain`, and the one for HTTPS where the settings name one or one was inherited.
///
/// # Errors
/// [`StartError::Listen`] where the port is taken.
pub fn players_sockets(
    config: &Config,
    plain: TcpListener,
    inherited: &mut Inherited,
    tls: Option<&Arc<TlsAcceptor>>,
) -> Result<Vec<PublicSocket>, StartError> {
    let mut sockets = vec![PublicSocket::new(plain, None)?];
    let inherited = inherited.players_tls.take();
    let Some(tls) = tls else {
        if inherited.is_some() {
            warn!(
                "a socket for players by HTTPS was inherited, but PROXY_HTTPS_CERT is not set: nobody is served there"
            );
        }
        return Ok(sockets);
    };
    let socket = match (inherited, config.https_server) {
        (Some(socket), _) => Some(socket),
        (None, Some(address)) => {
            let listening = listen(address, "PROXY_HTTPS_SERVER", "players by HTTPS")?;
            Some(listening)
        }
        (None, None) => None,
    };
    if let Some(socket) = socket {
        sockets.push(PublicSocket::new(socket, Some(tls.clone()))?);
    } else if !config.system_api_tls {
        warn!("PROXY_HTTPS_CERT is set, but PROXY_HTTPS_SERVER is not: nobody is served by HTTPS");
    }
    Ok(sockets)
}
