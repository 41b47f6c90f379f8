//! How cost grows: with viewers, with origins, and with streams that the proxy remembers.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::figures::Figures;
use crate::file_origin::{self, playlist};
use crate::load_wrk::Load;
use crate::proxies::{self, Cache, Origin, Target};
use crate::report::Report;
use crate::table::{Section, number};
use crate::{Result, plain, system};

/// Streams that are published while origins grow: few enough for one page of an API's answer.
const PUBLISHED: usize = 40;

/// Segments of a playlist of nearly a day.
const DAY: usize = 40_000;

/// Clients that fetch playlists.
const CLIENTS: usize = 64;

pub fn measure(report: &mut Report) -> Result<()> {
    for viewers in [100, 500, 1500, 4000] {
        plain::viewers_row(report, viewers)?;
    }
    for origins in [1, 10, 100] {
        let load = format!("playlists, origins: {origins}");
        report.compare(Section::Plain, &load, &[Target::Ours], |report, _| {
            with_origins(report, origins)
        });
    }
    for streams in [10, 1000, 10_000, 100_000] {
        let streams = report.options.scaled(streams);
        let load = format!("playlists, streams: {streams}");
        report.compare(Section::Plain, &load, &[Target::Ours], |report, _| {
            with_streams(report, streams)
        });
    }
    let load = format!("playlist of {DAY} URIs");
    report.compare(Section::Plain, &load, &[Target::Ours], |report, _| {
        of_a_day(report)
    });
    Ok(())
}

/// One client that fetches the playlist of a day. Each is rewritten anew: no HLS cache.
fn of_a_day(report: &mut Report) -> Result<Figures> {
    let files = report.new_directory()?;
    let origin = file_origin::start(&files)?;
    let playlist = file_origin::day(DAY);
    let live = files.join("live");
    fs::create_dir_all(&live).map_err(|error| format!("making {}: {error}", live.display()))?;
    system::write(&live.join("day.m3u8"), &playlist)?;
    let directory = report.new_directory()?;
    let proxy = proxies::start(Target::Ours, origin.address, Cache::Off, &directory)?;
    ask(&proxies::client(), proxy.address, "day")?;
    let url = format!("http://{}/live/day.m3u8", proxy.address);
    Load {
        url: &url,
        clients: 1,
        answer_bytes: playlist.len(),
        script: None,
    }
    .measure(report.options, proxy.pid())
}

/// Playlists of streams that are spread over so many origins, found by their APIs.
fn with_origins(report: &mut Report, count: usize) -> Result<Figures> {
    let streams: Vec<String> = (0..PUBLISHED).map(|index| format!("s{index}")).collect();
    let running = file_origin::start_many(&report.new_directory()?, count, &streams)?;
    let origins: Vec<Origin> = running
        .ports
        .iter()
        .map(|&port| Origin {
            http: port,
            api: Some(port),
        })
        .collect();
    let directory = report.new_directory()?;
    let proxy = proxies::ours(&origins, Cache::Off, &directory)?;
    let client = proxies::client();
    let mut found = Vec::new();
    for stream in &streams {
        let asked = Instant::now();
        ask(&client, proxy.address, stream)?;
        found.push(asked.elapsed().as_secs_f64() * 1000.0);
    }
    let first = found.first().copied().unwrap_or_default();
    found.sort_unstable_by(f64::total_cmp);
    report.fact(format!(
        "A new stream among {count} origins is found and answered in {} ms (p50; the very first {} ms, the slowest {} ms).",
        number(found[found.len() / 2]),
        number(first),
        number(found[found.len() - 1])
    ));
    fetch_all(report, proxy.address, PUBLISHED, proxy.pid())
}

/// Playlists of so many streams at one origin that has them all, each asked for before.
fn with_streams(report: &mut Report, count: usize) -> Result<Figures> {
    let origin = file_origin::start(&report.new_directory()?)?;
    let directory = report.new_directory()?;
    let proxy = proxies::start(Target::Ours, origin.address, Cache::Off, &directory)?;
    let next = AtomicUsize::new(0);
    let ask_the_next = || -> Result<()> {
        let client = proxies::client();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(());
            }
            ask(&client, proxy.address, &format!("s{index}"))?;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask_the_next)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(_) => Err("asking for every stream: a thread panicked".to_owned()),
            })
    })?;
    fetch_all(report, proxy.address, count, proxy.pid())
}

fn ask(client: &ureq::Agent, address: SocketAddr, stream: &str) -> Result<()> {
    let url = format!("http://{address}/live/{stream}.m3u8");
    let mut answer = client
        .get(&url)
        .call()
        .map_err(|error| format!("asking for {url}: {error}"))?;
    if answer.status() != 200 {
        return Err(format!("{url} is answered with {}", answer.status()));
    }
    answer
        .body_mut()
        .read_to_vec()
        .map_err(|error| format!("reading {url}: {error}"))?;
    Ok(())
}

/// Asks for the playlists of `s0` to `sN` by turns, in an order that jumps about.
fn fetch_all(
    report: &mut Report,
    address: SocketAddr,
    count: usize,
    pid: Option<u32>,
) -> Result<Figures> {
    let script: PathBuf = report.new_directory()?.join("streams.lua");
    // 7919 is a prime that divides none of these counts, so that every stream has its turn.
    let lua = format!(
        "local i = 0
request = function()
  i = (i + 7919) % {count}
  return 'GET /live/s' .. i .. '.m3u8 HTTP/1.1\\r\\nHost: {address}\\r\\n\\r\\n'
end\n"
    );
    system::write(&script, lua)?;
    let url = format!("http://{address}/");
    let answer_bytes = playlist("s0", "i2o25565").len();
    Load {
        url: &url,
        clients: CLIENTS,
        answer_bytes,
        script: Some(&script),
    }
    .measure(report.options, pid)
}
