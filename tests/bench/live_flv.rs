//! Rows of live FLV: one stream for all viewers, and a stream for each.

use std::path::Path;
use std::time::Duration;

use crate::audience::{self, Plan, Seen};
use crate::encoder_origin::EncoderOrigin;
use crate::figures::{Figure, Figures};
use crate::flv::FRAME_MS;
use crate::proxies::{self, Cache, Origin, Proxy, Target};
use crate::report::Report;
use crate::table::Section;
use crate::{Result, clock, procfs, system};

/// Viewers of one stream.
pub const CHANNEL: &str = "one stream, viewers:";
/// Streams with a viewer each.
pub const STREAMS: &str = "streams with one viewer:";

/// The stream that the live origin always has.
pub const ONE: &str = "/live/one.flv";

/// One stream, and so many viewers of it.
pub fn channel(report: &mut Report) -> Result<()> {
    for viewers in report.options.viewers(&[1, 500, 1500, 4000]) {
        let viewers = report.options.scaled(viewers);
        let load = format!("{CHANNEL} {viewers}");
        if !fits(report, &load, viewers) {
            continue;
        }
        report.compare(Section::Live, &load, &Target::ALL, |report, target| {
            let directory = report.new_directory()?;
            let origin = EncoderOrigin::start(1, 0, &directory)?;
            let proxy = put_before(report, target, &origin, true, &directory)?;
            let plan = Plan::new(proxy.address, ONE, viewers, report.options.window());
            measure(&plan, &origin, &proxy, 1)
        });
    }
    Ok(())
}

/// So many streams, each with one viewer: what channels cost where there is nothing to share.
pub fn streams(report: &mut Report) -> Result<()> {
    for viewers in report.options.viewers(&[1500]) {
        let viewers = report.options.scaled(viewers);
        let load = format!("{STREAMS} {viewers}");
        if !fits(report, &load, viewers) {
            continue;
        }
        let wanted = [
            Target::Direct,
            Target::Ours,
            Target::Before,
            Target::Nginx,
            Target::Haproxy,
        ];
        report.compare(Section::Live, &load, &wanted, |report, target| {
            let directory = report.new_directory()?;
            let origin = EncoderOrigin::start(1, 0, &directory)?;
            let proxy = put_before(report, target, &origin, false, &directory)?;
            let path = "/live/s{}.flv";
            let plan = Plan::new(proxy.address, path, viewers, report.options.window());
            measure(&plan, &origin, &proxy, viewers)
        });
    }
    Ok(())
}

/// Whether the players of this process have descriptors enough; says so if not. A proxy has two a viewer.
pub fn fits(report: &mut Report, load: &str, viewers: usize) -> bool {
    let limit = system::descriptor_limit();
    let fits = (2 * viewers + 200) as u64 <= limit;
    if !fits {
        report.fact(format!(
            "{load}: not measured, the limit of open files is {limit}."
        ));
    }
    fits
}

/// Puts `target` before that origin.
pub fn put_before(
    report: &Report,
    target: Target,
    origin: &EncoderOrigin,
    api: bool,
    directory: &Path,
) -> Result<Proxy> {
    let registered = if api {
        origin.with_api()
    } else {
        Origin::without_api(origin.address)
    };
    let before = report.options.before.as_deref();
    match target {
        Target::Ours => proxies::ours(&[registered], Cache::Off, directory),
        Target::Before => proxies::ours_before(before, &[registered], directory),
        _ => proxies::start(target, origin.address, Cache::Off, directory),
    }
}

/// CPU and memory so far, and frames made.
struct Costs {
    proxy: Option<Duration>,
    /// Peak of resident memory, in bytes, while viewers come and watch: their going all at once is not in it.
    peak: Option<u64>,
    origin: Duration,
    frames: u64,
}

fn costs(origin: &EncoderOrigin, proxy: &Proxy) -> Result<Costs> {
    Ok(Costs {
        proxy: proxy.pid().map(procfs::cpu_time),
        peak: proxy.pid().map(procfs::peak_memory),
        origin: procfs::cpu_time(origin.pid()),
        frames: origin.counts()?.frames,
    })
}

/// Lets the viewers of a plan watch so many streams of that origin.
pub fn measure(
    plan: &Plan,
    origin: &EncoderOrigin,
    proxy: &Proxy,
    streams: usize,
) -> Result<Figures> {
    let between = || -> Result<(Costs, Costs)> {
        clock::sleep_until(plan.window.open);
        let before = costs(origin, proxy)?;
        clock::sleep_until(plan.window.close);
        Ok((before, costs(origin, proxy)?))
    };
    let (mut seen, between) = audience::watch(plan, between)?;
    let (before, after) = between?;
    let mut figures = Figures::default();
    let seconds = plan.window.seconds();
    let per_stream = seconds * 1000.0 / FRAME_MS as f64;
    let came = seen.ages.len() as f64;
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / came;
    figures.set(Figure::PerSecond, came / seconds);
    figures.set(
        Figure::Delivered,
        came * 100.0 / (per_stream * plan.guests as f64),
    );
    // The stream `one` runs even where nobody wants it.
    let running = if streams == 1 { 1 } else { streams + 1 } as f64;
    let made = after.frames.saturating_sub(before.frames) as f64;
    figures.set(Figure::Made, made * 100.0 / (per_stream * running));
    figures.set_quantiles(&mut seen.ages);
    let cpu = after.proxy.zip(before.proxy);
    figures.set_known(
        Figure::Cpu,
        cpu.map(|(after, before)| each(after.saturating_sub(before))),
    );
    figures.set(
        Figure::OriginCpu,
        each(after.origin.saturating_sub(before.origin)),
    );
    let peak = after.peak.map(|bytes| bytes as f64 / 1e6);
    figures.set_known(Figure::PeakMemory, peak);
    figures.set(Figure::OriginConnections, origin.counts()?.peak as f64);
    set_seen(&mut figures, &seen);
    Ok(figures)
}

/// Adds what the viewers saw that should not have been, and says the single counts where there are any.
pub fn set_seen(figures: &mut Figures, seen: &Seen) {
    let sum =
        |get: fn(&crate::viewer::ViewerSeen) -> u64| -> u64 { seen.viewers.iter().map(get).sum() };
    let pause = seen.viewers.iter().map(|viewer| viewer.pause_us).max();
    let refused = seen.viewers.iter().filter(|viewer| viewer.refused > 0);
    figures.set(Figure::Pause, f64::from(pause.unwrap_or_default()) / 1000.0);
    figures.set(Figure::Refused, refused.count() as f64);
    figures.set(Figure::Ended, sum(|viewer| viewer.ended) as f64);
    figures.set(Figure::Back, sum(|viewer| viewer.back) as f64);
    let faults = [
        ("missing frames", sum(|viewer| viewer.missing)),
        ("repeated frames", sum(|viewer| viewer.repeated)),
        ("torn responses", sum(|viewer| viewer.torn)),
        (
            "beginnings without a key frame",
            sum(|viewer| viewer.keyless),
        ),
    ];
    figures.set(
        Figure::Faults,
        faults.iter().map(|(_, count)| count).sum::<u64>() as f64,
    );
    for (what, count) in faults.iter().filter(|(_, count)| *count > 0) {
        eprintln!("  {count} {what}");
    }
}
