//! From starting a program to the first byte that it serves.

use std::time::Instant;

use crate::proxies::{self, Cache, Target};
use crate::report::Report;
use crate::table::number;
use crate::{Result, file_origin};

/// How often each program is started.
const STARTS: usize = 5;

/// Measures every proxy that was asked for. A proxy that does not start is told by the loads that need it.
pub fn measure(report: &mut Report) {
    let wanted = Target::ALL
        .into_iter()
        .filter(|&target| target != Target::Direct);
    for target in wanted.filter(|target| report.options.only.contains(target)) {
        match starts(report, target) {
            Ok(millis) => report.fact(format!(
                "{target}: start to the first byte of a playlist: {} ms (median of {STARTS}).",
                number(millis)
            )),
            Err(error) => report.fact(format!(
                "{target}: start to the first byte: not measured, {error}."
            )),
        }
    }
}

fn starts(report: &mut Report, target: Target) -> Result<f64> {
    let origin = file_origin::start(&report.new_directory()?)?;
    let mut millis = Vec::new();
    for _ in 0..STARTS {
        let directory = report.new_directory()?;
        let url_of = |address| format!("http://{address}/live/live.m3u8");
        let begin = Instant::now();
        // Ours has to learn of its origin first; that is part of it.
        let proxy = proxies::start(target, origin.address, Cache::Off, &directory)?;
        let url = url_of(proxy.address);
        let answer = proxies::client()
            .get(&url)
            .call()
            .map_err(|error| format!("asking for {url}: {error}"))?;
        millis.push(begin.elapsed().as_secs_f64() * 1000.0);
        if answer.status() != 200 {
            return Err(format!("{url} is answered with {}", answer.status()));
        }
    }
    millis.sort_unstable_by(f64::total_cmp);
    Ok(millis[STARTS / 2])
}
