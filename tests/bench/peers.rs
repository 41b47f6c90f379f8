//! The proxy beside its peers: `cargo bench --bench peers`.
//!
//! Starts origins, then the proxy's release binary, nginx and HAProxy one after the other in front of them, runs the
//! same load through each, and prints one table. Nothing leaves loopback; nothing stays behind.
//! `cargo bench --bench peers -- --help` tells the options.

mod cached;
mod children;
mod counting_origin;
mod crowd;
mod file_origin;
mod frames;
mod growth;
mod live_origin;
mod load_wrk;
mod nginx;
mod options;
mod plain;
mod players;
mod procfs;
mod proxies;
mod report;
mod startup;
mod system;
mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::options::{LoadKind, Options};
use crate::report::Report;

/// What went wrong, as one sentence for the person who runs the benchmark.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    // Cargo says `--bench` when a benchmark is wanted. `cargo test --all-targets` starts this program too, without it.
    if !std::env::args().any(|argument| argument == "--bench") {
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
    startup::measure(&mut report);
    for load in &options.load {
        match load {
            LoadKind::Segments => plain::segments(&mut report)?,
            LoadKind::Playlists => plain::playlists(&mut report)?,
            LoadKind::Live => plain::live(&mut report)?,
            LoadKind::Growth => growth::measure(&mut report)?,
            LoadKind::Cache => cached::measure(&mut report)?,
        }
    }
    Ok(report)
}
