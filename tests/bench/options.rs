//! What the person who runs the benchmark may choose.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::proxies::Target;

/// Which figures to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoadKind {
    /// From starting each program to its first byte.
    Startup,
    /// 1 MB segments for 1, 16 and 64 clients.
    Segments,
    /// A small playlist for 64 clients, and what rewriting it costs.
    Playlists,
    /// Viewers of 1 Mb/s at 25 frames a second, an encoder for each; their stream is no media.
    Live,
    /// 100 to 4000 viewers, 1 to 100 origins, 10 to 100 000 pinned streams.
    Growth,
    /// Hot segments and playlists out of memory, and 1000 viewers of one live HLS stream.
    Cache,
    /// By TLS: hot segments and playlists out of memory, and one live FLV stream with 250 and 500 viewers.
    Tls,
    /// One live FLV stream with 1, 500, 1500 and 4000 viewers.
    Channel,
    /// 1500 live FLV streams with one viewer each.
    Streams,
    /// The first frame of viewers who come late to a stream that 500 watch.
    Late,
    /// kill -9 of the origin of a stream that 500 watch, while another origin has it too.
    Failover,
}

/// Runs the same load through the proxy and through its peers, and prints one table.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo bench --bench peers --")]
pub struct Options {
    /// Run only these loads; all if none is named.
    #[arg(value_name = "LOAD")]
    named: Vec<LoadKind>,

    /// The same as an option.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "LOAD",
        hide_possible_values = true
    )]
    load: Vec<LoadKind>,

    /// Measure only these: `direct` is the origin without any proxy, `before` see `--before`.
    #[arg(long, value_delimiter = ',', default_values = ["direct", "ours", "before", "nginx", "haproxy"])]
    pub only: Vec<Target>,

    /// Viewers of live streams (`cache`, `live`, `tls`, `channel`, `streams`, `late` and `failover`), one row each; each load has its own default.
    #[arg(long, value_delimiter = ',')]
    viewers: Vec<usize>,

    /// Seconds that each load is measured, after its warm-up.
    #[arg(long = "seconds", alias = "secs", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,

    /// An older build of the proxy, with which the load `streams` is compared as `before`. Without this `before` is the
    /// same build with PROXY_LIVE_SHARE=off.
    #[arg(long, value_name = "BINARY")]
    pub before: Option<PathBuf>,

    /// How often each load is measured; the targets take turns, and the table has the medians.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=99))]
    pub rounds: u64,

    /// A short look: one second for each load, and a tenth of the viewers and streams. Its figures are no results.
    #[arg(long)]
    pub quick: bool,

    /// Print the table as Markdown.
    #[arg(long)]
    pub markdown: bool,

    /// Said by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The loads to run, in the order of `--help`.
    pub fn loads(&self) -> Vec<LoadKind> {
        let all = LoadKind::value_variants().iter().copied();
        let wanted = |kind: &LoadKind| self.named.contains(kind) || self.load.contains(kind);
        let any = !self.named.is_empty() || !self.load.is_empty();
        all.filter(|kind| !any || wanted(kind)).collect()
    }

    /// The counts of viewers that were asked for, or a load's own.
    pub fn viewers(&self, default: &[usize]) -> Vec<usize> {
        if self.viewers.is_empty() {
            default.to_vec()
        } else {
            self.viewers.clone()
        }
    }

    /// How long each load is measured.
    pub fn window(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { self.seconds })
    }

    /// How often each load is measured.
    pub fn rounds(&self) -> u64 {
        if self.quick { 1 } else { self.rounds }
    }

    /// How long a load runs before it is measured, so that connections are open and files are in memory.
    pub fn warm_up(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// A count of viewers or streams, a tenth of it for a quick run.
    pub fn scaled(&self, count: usize) -> usize {
        if self.quick {
            count.div_ceil(10)
        } else {
            count
        }
    }
}
