//! Hot HLS by TLS: our proxy with its default cache beside nginx with `proxy_cache`, both with the same certificate.

use std::net::SocketAddr;

use crate::file_origin::{self, SEGMENT_BYTES};
use crate::load_wrk::Load;
use crate::proxies::{self, Target};
use crate::report::Report;
use crate::table::Section;
use crate::{Result, certificate, plain};

/// Those that speak TLS and have a cache.
const TARGETS: [Target; 2] = [Target::Ours, Target::Nginx];

pub fn measure(report: &mut Report) -> Result<()> {
    let origin = file_origin::start(&report.new_directory()?)?;
    let certificate = certificate::make(&report.new_directory()?)?;
    for (name, clients, segment) in [
        ("hot segments by TLS, 16 clients", 16, true),
        ("hot playlists by TLS, 64 clients", 64, false),
    ] {
        report.compare(Section::Plain, name, &TARGETS, |report, target| {
            let directory = report.new_directory()?;
            let (proxy, secure) =
                proxies::start_secured(target, origin.address, &certificate, &directory)?;
            let hls = plain::open_stream(proxy.address)?;
            let (url, answer_bytes) = if segment {
                (&hls.segment, SEGMENT_BYTES)
            } else {
                (&hls.playlist, hls.playlist_bytes)
            };
            Load {
                url: &by_tls(url, proxy.address, secure),
                clients,
                answer_bytes,
                script: None,
            }
            .measure(report.options, proxy.pid())
        });
    }
    Ok(())
}

/// The same URL at the proxy's other address, by HTTPS.
fn by_tls(url: &str, plain: SocketAddr, secure: SocketAddr) -> String {
    url.replacen(&format!("http://{plain}"), &format!("https://{secure}"), 1)
}
