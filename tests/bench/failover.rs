//! kill -9 of the origin that serves a stream, while another origin has the stream too.

use std::time::Duration;

use crate::audience::{self, Plan};
use crate::encoder_origin::EncoderOrigin;
use crate::figures::{Figure, Figures};
use crate::live_flv::{ONE, fits, set_seen};
use crate::proxies::{self, Target};
use crate::report::Report;
use crate::table::Section;
use crate::{Result, clock};

pub const FAILOVER: &str = "killed origin, viewers:";

/// How long viewers are watched after the killing, at least.
const AFTERMATH: Duration = Duration::from_secs(5);

/// Milliseconds: the first origin's timestamps are this far ahead of the second one's, for encoders that began at
/// different times. Whoever goes on with them as they are goes back.
const AHEAD_MS: u32 = 3_600_000;

pub fn measure(report: &mut Report) -> Result<()> {
    for viewers in report.options.viewers(&[500]) {
        let viewers = report.options.scaled(viewers);
        let load = format!("{FAILOVER} {viewers}");
        if !fits(report, &load, viewers) {
            continue;
        }
        let wanted = [Target::Ours, Target::Nginx, Target::Haproxy];
        report.compare(Section::Failover, &load, &wanted, |report, target| {
            kill_one(report, target, viewers)
        });
    }
    Ok(())
}

fn kill_one(report: &mut Report, target: Target, viewers: usize) -> Result<Figures> {
    let directory = report.new_directory()?;
    let first = EncoderOrigin::start(1, AHEAD_MS, &directory)?;
    let second = EncoderOrigin::start(2, 0, &directory)?;
    let proxy = match target {
        Target::Ours => {
            let origins = [first.with_api(), second.with_api()];
            proxies::ours(&origins, proxies::Cache::Off, &directory)?
        }
        _ => proxies::start_with_spare(target, [first.address, second.address], &directory)?,
    };
    let window = report.options.window().max(AFTERMATH);
    let mut plan = Plan::new(proxy.address, ONE, viewers, window);
    // Where a response ends with its origin, its player asks again, as players do.
    plan.returns = true;
    let (seen, killed) = audience::watch(&plan, || -> Result<_> {
        clock::sleep_until(plan.window.open);
        // Ours may have chosen either.
        let (victim, survivor) = if first.counts()?.viewers >= second.counts()?.viewers {
            (first, second)
        } else {
            (second, first)
        };
        let (moment, run) = (clock::now(), victim.run);
        victim.kill();
        clock::sleep_until(plan.window.end());
        drop(survivor);
        Ok((moment, run))
    })?;
    let (killed, run) = killed?;
    let watched_it = || {
        let viewers = seen.viewers.iter();
        viewers.filter(|viewer| viewer.first_run == Some(run))
    };
    let mut waits: Vec<u32> = watched_it()
        .filter_map(|viewer| viewer.switched)
        .map(|moment| clock::micros_between(killed, moment))
        .collect();
    let mut figures = Figures::default();
    let without = watched_it().count() - waits.len();
    figures.set_quantiles(&mut waits);
    set_seen(&mut figures, &seen);
    figures.set(Figure::Without, without as f64);
    Ok(figures.only(&[
        Figure::P50,
        Figure::P99,
        Figure::Max,
        Figure::Ended,
        Figure::Back,
        Figure::Faults,
        Figure::Without,
    ]))
}
