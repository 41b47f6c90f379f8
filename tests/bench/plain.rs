//! The plain comparison: every request goes through to the origin.

use std::net::SocketAddr;

use crate::figures::{Figure, Figures};
use crate::file_origin::{self, SEGMENT_BYTES, SEGMENTS};
use crate::load_wrk::Load;
use crate::proxies::{self, Cache, Proxy, Target};
use crate::report::Report;
use crate::table::{Section, number};
use crate::{Result, live_origin, players, system};

/// URLs of one stream as a player sees them through some proxy, after a look at what is behind them.
pub struct Hls {
    pub playlist: String,
    pub playlist_bytes: usize,
    pub segment: String,
    /// A playlist's bytes under a key's name: relayed, never rewritten.
    pub key: String,
}

/// Fetches a stream's playlist and its first segment, and checks both.
pub fn open_stream(address: SocketAddr) -> Result<Hls> {
    let client = proxies::client();
    let fetch = |url: &str| -> Result<Vec<u8>> {
        let mut answer = client
            .get(url)
            .call()
            .map_err(|error| format!("asking for {url}: {error}"))?;
        if answer.status() != 200 {
            return Err(format!("{url} is answered with {}", answer.status()));
        }
        answer
            .body_mut()
            .read_to_vec()
            .map_err(|error| format!("reading {url}: {error}"))
    };
    let playlist = format!("http://{address}/live/live.m3u8");
    let bytes = fetch(&playlist)?;
    let text = String::from_utf8_lossy(&bytes);
    let uris: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let Some(uri) = uris
        .first()
        .filter(|_| text.starts_with("#EXTM3U") && uris.len() == SEGMENTS)
    else {
        return Err(format!(
            "{playlist} is no playlist of {SEGMENTS} segments: {text}"
        ));
    };
    let segment = format!("http://{address}/live/{uri}");
    let length = fetch(&segment)?.len();
    if length != SEGMENT_BYTES {
        return Err(format!("{segment} has {length} bytes, not {SEGMENT_BYTES}"));
    }
    Ok(Hls {
        key: segment.replacen(".ts", ".key", 1),
        playlist_bytes: bytes.len(),
        playlist,
        segment,
    })
}

pub const SEGMENTS_16: &str = "1 MB segments, 16 clients";
pub const SEGMENTS_64: &str = "1 MB segments, 64 clients";

pub fn segments(report: &mut Report) -> Result<()> {
    let origin = file_origin::start(&report.new_directory()?)?;
    for (name, clients) in [
        ("1 MB segments, 1 client", 1),
        (SEGMENTS_16, 16),
        (SEGMENTS_64, 64),
    ] {
        report.compare(Section::Plain, name, &Target::ALL, |report, target| {
            let directory = report.new_directory()?;
            let proxy = proxies::start(target, origin.address, Cache::Off, &directory)?;
            let url = open_stream(proxy.address)?.segment;
            let load = Load {
                url: &url,
                clients,
                answer_bytes: SEGMENT_BYTES,
                script: None,
            };
            load.measure(report.options, proxy.pid())
        });
    }
    Ok(())
}

pub const PLAYLISTS: &str = "playlists, 64 clients";
const UNREWRITTEN: &str = "the same bytes as a key, 64 clients";

pub fn playlists(report: &mut Report) -> Result<()> {
    let origin = file_origin::start(&report.new_directory()?)?;
    let playlist = |hls: &Hls| hls.playlist.clone();
    let key = |hls: &Hls| hls.key.clone();
    for (name, pick) in [
        (PLAYLISTS, playlist as fn(&Hls) -> String),
        (UNREWRITTEN, key),
    ] {
        report.compare(Section::Plain, name, &Target::ALL, |report, target| {
            let directory = report.new_directory()?;
            let proxy = proxies::start(target, origin.address, Cache::Off, &directory)?;
            measure_small(report, &proxy, pick)
        });
    }
    rewriting(report);
    Ok(())
}

fn measure_small(report: &Report, proxy: &Proxy, pick: fn(&Hls) -> String) -> Result<Figures> {
    let hls = open_stream(proxy.address)?;
    let url = pick(&hls);
    // The key is as long as the origin's playlist, which has no session ids yet.
    let answer_bytes = if url == hls.playlist {
        hls.playlist_bytes
    } else {
        file_origin::playlist("live", "i2o25565").len()
    };
    Load {
        url: &url,
        clients: 64,
        answer_bytes,
        script: None,
    }
    .measure(report.options, proxy.pid())
}

/// What our proxy pays for reading a playlist whole and rewriting it, next to relaying the same bytes.
fn rewriting(report: &mut Report) {
    let (Some(playlist), Some(key)) = (
        report.figures(PLAYLISTS, Target::Ours),
        report.figures(UNREWRITTEN, Target::Ours),
    ) else {
        return;
    };
    let figure = |figures: &Figures, name| figures.get(name).unwrap_or(f64::NAN);
    let rate = |figures: &Figures| figure(figures, Figure::PerSecond);
    let fewer = (1.0 - rate(playlist) / rate(key)) * 100.0;
    let (before, after) = (figure(key, Figure::Cpu), figure(playlist, Figure::Cpu));
    report.fact(format!(
        "Rewriting playlists costs {} % of their rate ({} -> {} µs of CPU each).",
        number(fewer),
        number(before),
        number(after)
    ));
}

pub fn live(report: &mut Report) -> Result<()> {
    for viewers in report.options.viewers(&[500, 1500]) {
        viewers_row(report, viewers)?;
    }
    Ok(())
}

/// Measures live viewers through every target, unless that has been done.
pub fn viewers_row(report: &mut Report, viewers: usize) -> Result<()> {
    let viewers = report.options.scaled(viewers);
    let load = format!("live, {viewers} viewers");
    // Players and origin are in this process and have a descriptor each; a proxy has two.
    if (2 * viewers + 200) as u64 > system::descriptor_limit() {
        report.fact(format!(
            "{load}: not measured, the limit of open files is {}.",
            system::descriptor_limit()
        ));
        return Ok(());
    }
    report.compare(Section::Plain, &load, &Target::ALL, |report, target| {
        let origin = live_origin::start()?;
        let directory = report.new_directory()?;
        let proxy = proxies::start(target, origin, Cache::Off, &directory)?;
        players::run(proxy.address, viewers, report.options.window(), proxy.pid())
    });
    Ok(())
}
