//! The proxy beside its peers: `cargo bench --bench peers`.
//!
//! Starts origins, then the proxy's release binary, nginx and HAProxy one after the other in front of them, runs the
//! same load through each, and prints tables. Nothing leaves loopback; nothing stays behind.
//! `cargo bench --bench peers -- --help` tells the options; what each load and figure means is in `README.md` here.

mod audience;
mod cached;
mod certificate;
mod children;
mod chunks;
mod clock;
mod crowd;
mod encoded_stream;
mod encoder;
mod encoder_origin;
mod failover;
mod figures;
mod file_origin;
mod flv;
mod flv_reader;
mod frames;
mod goals;
mod growth;
mod haproxy;
mod hls_answer;
mod hls_origin;
mod hls_viewer;
mod late;
mod live_edge;
mod live_flv;
mod live_origin;
mod load_wrk;
mod nginx;
mod nginx_peer;
mod numbered_segment;
mod options;
mod plain;
mod players;
mod procfs;
mod proxies;
mod report;
mod secured;
mod startup;
mod system;
mod table;
mod transport;
mod viewer;

use std::process::ExitCode;

use clap::Parser;

use crate::options::{LoadKind, Options};
use crate::report::Report;

/// What went wrong, as one sentence for the person who runs the benchmark.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((encoder::ARGUMENT, rest)) = arguments.split_first().map(|(a, b)| (a.as_str(), b)) {
        if let Err(error) = encoder::run(rest) {
            eprintln!("{error}");
        }
        return ExitCode::FAILURE;
    }
    // Cargo says `--bench` when a benchmark is wanted. `cargo test --all-targets` starts this program too, without it.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("The load runs with: cargo bench --bench peers");
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    match run(&options) {
        Ok(report) => {
            report.print(options.markdown);
            if report.failed() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Report<'_>> {
    system::raise_descriptor_limit()?;
    let workdir = children::prepare()?;
    let mut report = Report::new(options, workdir.path());
    for load in options.loads() {
        match load {
            LoadKind::Startup => startup::measure(&mut report),
            LoadKind::Segments => plain::segments(&mut report)?,
            LoadKind::Playlists => plain::playlists(&mut report)?,
            LoadKind::Live => plain::live(&mut report)?,
            LoadKind::Growth => growth::measure(&mut report)?,
            LoadKind::Cache => cached::measure(&mut report)?,
            LoadKind::Tls => secured::measure(&mut report)?,
            LoadKind::Channel => live_flv::channel(&mut report)?,
            LoadKind::Streams => live_flv::streams(&mut report)?,
            LoadKind::Late => late::measure(&mut report)?,
            LoadKind::Failover => failover::measure(&mut report)?,
        }
    }
    Ok(report)
}
