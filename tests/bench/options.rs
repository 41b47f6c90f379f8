//! What the person who runs the benchmark may choose.

use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::proxies::Target;

/// Which figures to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoadKind {
    /// 1 MB segments for 1, 16 and 64 clients.
    Segments,
    /// A small playlist for 64 clients, and what rewriting it costs.
    Playlists,
    /// Viewers of 1 Mb/s at 25 frames a second.
    Live,
    /// 100 to 4000 viewers, 1 to 100 origins, 10 to 100 000 pinned streams.
    Growth,
    /// Hot segments and playlists out of memory, and the origin's requests for a segment with 1000 viewers.
    Cache,
}

/// Runs the same load through the proxy and through its peers, and prints one table.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench peers --")]
pub struct Options {
    /// Measure only these (direct is the origin without any proxy).
    #[arg(long, value_delimiter = ',', default_values = ["direct", "ours", "nginx", "haproxy"])]
    pub only: Vec<Target>,

    /// Run only these loads.
    #[arg(long, value_delimiter = ',', default_values = ["segments", "playlists", "live", "growth", "cache"])]
    pub load: Vec<LoadKind>,

    /// Viewers of the live load, one row each.
    #[arg(long, value_delimiter = ',', default_values_t = [500, 1500])]
    pub viewers: Vec<usize>,

    /// Seconds that each load is measured, after its warm-up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub secs: u64,

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
    /// How long each load is measured.
    pub fn window(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { self.secs })
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
