//! The cached comparison: our proxy with its default cache beside nginx with `proxy_cache` and `proxy_cache_lock`.

use crate::file_origin::{self, SEGMENT_BYTES};
use crate::load_wrk::Load;
use crate::proxies::{self, Cache, Target};
use crate::report::Report;
use crate::table::{Section, number};
use crate::{Result, counting_origin, crowd, plain};

/// Those that have a cache with which to compare.
const CACHING: [Target; 2] = [Target::Ours, Target::Nginx];

pub const HOT_SEGMENTS: &str = "hot segments, 16 clients";
pub const HOT_PLAYLISTS: &str = "hot playlists, 64 clients";

pub fn measure(report: &mut Report) -> Result<()> {
    let origin = file_origin::start(&report.new_directory()?)?;
    for (name, clients, segment) in [(HOT_SEGMENTS, 16, true), (HOT_PLAYLISTS, 64, false)] {
        report.compare(Section::Plain, name, &CACHING, |report, target| {
            let directory = report.new_directory()?;
            let proxy = proxies::start(target, origin.address, Cache::On, &directory)?;
            let hls = plain::open_stream(proxy.address)?;
            let (url, answer_bytes) = if segment {
                (&hls.segment, SEGMENT_BYTES)
            } else {
                (&hls.playlist, hls.playlist_bytes)
            };
            Load {
                url,
                clients,
                answer_bytes,
                script: None,
            }
            .measure(report.options, proxy.pid())
        });
    }
    for target in CACHING
        .into_iter()
        .filter(|target| report.options.only.contains(target))
    {
        let viewers = report.options.scaled(1000);
        match origin_requests(report, target, viewers) {
            Ok(fact) => report.fact(fact),
            Err(error) => report.fail(
                Section::Plain,
                "origin requests for a segment",
                target,
                error,
            ),
        }
    }
    Ok(())
}

fn origin_requests(report: &mut Report, target: Target, viewers: usize) -> Result<String> {
    let origin = counting_origin::start()?;
    let directory = report.new_directory()?;
    let proxy = proxies::start(target, origin.address, Cache::On, &directory)?;
    let watched = crowd::watch(proxy.address, viewers)?;
    let counts = origin.segment_requests();
    let mean = counts.iter().sum::<u64>() as f64 / watched.segments as f64;
    let most = counts.iter().max().copied().unwrap_or_default();
    Ok(format!(
        "{target}: {viewers} viewers of one stream cost the origin {mean:.2} requests a segment (at most {most}); \
         the slowest segment took {} ms, {} downloads failed.",
        number(watched.slowest_ms),
        watched.failures
    ))
}
