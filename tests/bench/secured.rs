//! Loads by TLS, through our proxy and nginx with the same certificate: hot HLS out of their caches, and live FLV.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::audience::Plan;
use crate::certificate::Certificate;
use crate::encoder_origin::EncoderOrigin;
use crate::file_origin::{self, SEGMENT_BYTES};
use crate::live_flv::{self, ONE};
use crate::load_wrk::Load;
use crate::proxies::{self, Origin, Target};
use crate::report::Report;
use crate::table::Section;
use crate::{Result, certificate, plain};

/// Those that speak TLS and have a cache.
const TARGETS: [Target; 2] = [Target::Ours, Target::Nginx];

pub const HOT_SEGMENTS: &str = "hot segments by TLS, 16 clients";
pub const HOT_PLAYLISTS: &str = "hot playlists by TLS, 64 clients";
/// Viewers of one stream.
pub const LIVE: &str = "live by TLS, viewers:";

pub fn measure(report: &mut Report) -> Result<()> {
    let certificate = certificate::make(&report.new_directory()?)?;
    hot(report, &certificate)?;
    live(report, &certificate)
}

fn hot(report: &mut Report, certificate: &Certificate) -> Result<()> {
    let origin = file_origin::start(&report.new_directory()?)?;
    for (name, clients, segment) in [(HOT_SEGMENTS, 16, true), (HOT_PLAYLISTS, 64, false)] {
        report.compare(Section::Plain, name, &TARGETS, |report, target| {
            let directory = report.new_directory()?;
            let registered = Origin::without_api(origin.address);
            let (proxy, secure) =
                proxies::start_secured(target, registered, certificate, &directory)?;
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

/// The load `channel` by TLS. Viewers come, and have their handshakes, before the measured time.
fn live(report: &mut Report, certificate: &Certificate) -> Result<()> {
    let players = certificate.players()?;
    for viewers in report.options.viewers(&[250, 500]) {
        let viewers = report.options.scaled(viewers);
        let load = format!("{LIVE} {viewers}");
        if !live_flv::fits(report, &load, viewers) {
            continue;
        }
        report.compare(Section::Live, &load, &TARGETS, |report, target| {
            let directory = report.new_directory()?;
            let origin = EncoderOrigin::start(1, 0, &directory)?;
            let (proxy, secure) =
                proxies::start_secured(target, origin.with_api(), certificate, &directory)?;
            let mut plan = Plan::new(secure, ONE, viewers, report.options.window());
            plan.tls = Some(Arc::clone(&players));
            live_flv::measure(&plan, &origin, &proxy, 1)
        });
    }
    Ok(())
}

/// The same URL at the proxy's other address, by HTTPS.
fn by_tls(url: &str, plain: SocketAddr, secure: SocketAddr) -> String {
    url.replacen(&format!("http://{plain}"), &format!("https://{secure}"), 1)
}
