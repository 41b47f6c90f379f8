//! The cached comparison: our proxy with its default cache beside nginx with `proxy_cache` and `proxy_cache_lock`.

use crate::crowd::{self, Plan};
use crate::figures::{Figure, Figures};
use crate::file_origin::{self, SEGMENT_BYTES};
use crate::hls_origin::HlsOrigin;
use crate::load_wrk::Load;
use crate::proxies::{self, Cache, Target};
use crate::report::Report;
use crate::table::Section;
use crate::{Result, clock, live_flv, plain, procfs};

/// Those that have a cache with which to compare.
const CACHING: [Target; 2] = [Target::Ours, Target::Nginx];

pub const HOT_SEGMENTS: &str = "hot segments, 16 clients";
pub const HOT_PLAYLISTS: &str = "hot playlists, 64 clients";

/// Viewers of one live HLS stream.
pub const CROWD: &str = "one HLS stream, viewers:";

/// So many times the seconds of other loads: by default ten segments.
const STRETCH: u32 = 4;

/// Segments that a viewer's last one may be behind the origin's newest at the end: the last poll was up to 3 s before,
/// and its playlist may have been a second old.
const LATE: u64 = 3;

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
    for viewers in report.options.viewers(&[1000]) {
        let viewers = report.options.scaled(viewers);
        let load = format!("{CROWD} {viewers}");
        if live_flv::fits(report, &load, viewers) {
            report.compare(Section::Hls, &load, &CACHING, |report, target| {
                watch(report, target, viewers)
            });
        }
    }
    Ok(())
}

/// Has so many viewers watch one live HLS stream.
fn watch(report: &mut Report, target: Target, viewers: usize) -> Result<Figures> {
    let origin = HlsOrigin::start()?;
    let directory = report.new_directory()?;
    let proxy = proxies::start(target, origin.address, Cache::On, &directory)?;
    let plan = Plan::new(proxy.address, viewers, report.options.window() * STRETCH);
    let so_far = || {
        (
            proxy.pid().map(procfs::cpu_time),
            origin.playlist_requests(),
        )
    };
    let (seen, (before, after)) = crowd::watch(&plan, || {
        clock::sleep_until(plan.window.open);
        let before = so_far();
        clock::sleep_until(plan.window.close);
        (before, so_far())
    })?;
    let crowd::Seen {
        mut playlists,
        mut segments,
        mut errors,
        slowest,
    } = seen;
    // A viewer whose playlists stay as they are has no other error.
    errors += u64::from(slowest.is_none_or(|last| last.saturating_add(LATE) < origin.newest()));
    let seconds = plan.window.seconds();
    let mut figures = Figures::default();
    figures.set(Figure::PerSecond, segments.len() as f64 / seconds);
    figures.set_quantiles(&mut segments);
    let names = [
        Figure::PlaylistP50,
        Figure::PlaylistP99,
        Figure::PlaylistMax,
    ];
    figures.set_quantiles_as(names, &mut playlists);
    let cpu = after.0.zip(before.0);
    let cpu = cpu.map(|(after, before)| after.saturating_sub(before).as_secs_f64());
    figures.set_known(
        Figure::Cpu,
        cpu.map(|cpu| cpu * 1e6 / (viewers as f64 * seconds)),
    );
    let peak = proxy.pid().map(procfs::peak_memory);
    figures.set_known(Figure::PeakMemory, peak.map(|bytes| bytes as f64 / 1e6));
    // Of all segments since the first viewer came.
    let counts = origin.segment_requests();
    let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    figures.set(Figure::OriginSegments, mean);
    let asked = after.1.saturating_sub(before.1);
    figures.set(Figure::OriginPlaylists, asked as f64 / seconds);
    figures.set(Figure::Errors, errors as f64);
    Ok(figures)
}
