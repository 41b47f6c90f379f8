//! Measured figures by their names, and how the figures of several rounds become one.

use std::collections::BTreeMap;

/// The name of a measured figure. The order is that of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Requests or frames in a second.
    PerSecond,
    /// Frames that came to viewers, in percent of those that were due to them.
    Delivered,
    /// Frames that the encoder itself made, in percent of 25 a second: less than 100 on a machine that is full.
    Made,
    /// Milliseconds: the median.
    P50,
    /// Milliseconds: 99 of 100 are not above it.
    P99,
    /// Milliseconds: the highest.
    Max,
    /// Milliseconds, of playlists where the others are of segments: the median.
    PlaylistP50,
    /// The same: 99 of 100 are not above it.
    PlaylistP99,
    /// The same: the highest.
    PlaylistMax,
    /// Milliseconds: the longest time that any viewer had no frame.
    Pause,
    /// Microseconds of CPU of all the proxy's processes, for each request, for each frame and viewer, or for each
    /// viewer and second.
    Cpu,
    /// Microseconds of CPU of the origin, for each frame and viewer.
    OriginCpu,
    /// Peak of resident memory, summed over the proxy's processes, in 10⁶ bytes.
    PeakMemory,
    /// The most connections for a stream that the origin had at once.
    OriginConnections,
    /// Requests to the origin for a segment that anybody wanted.
    OriginSegments,
    /// Requests to the origin for playlists, in a second.
    OriginPlaylists,
    /// Viewers who got no connection, a status other than 200, or no frame at all.
    Refused,
    /// Responses that ended while their viewer went on watching.
    Ended,
    /// Timestamps that were lower than the one before in the same response.
    Back,
    /// Viewers who had no frame any more after the killing.
    Without,
    /// Frames missing or repeated, torn tags, and responses that began with something else than a key frame.
    Faults,
    /// Requests that failed or were answered wrongly, or viewers that did not get their stream.
    Errors,
}

/// Which value of a figure is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
    /// A count or a check: no ratio to a peer's figure is printed.
    Neither,
}

impl Figure {
    /// The column's heading.
    pub fn heading(self) -> &'static str {
        match self {
            Figure::PerSecond => "per second",
            Figure::Delivered => "delivered %",
            Figure::Made => "made %",
            Figure::P50 => "p50 ms",
            Figure::P99 => "p99 ms",
            Figure::Max => "max ms",
            Figure::PlaylistP50 => "playlist p50 ms",
            Figure::PlaylistP99 => "playlist p99 ms",
            Figure::PlaylistMax => "playlist max ms",
            Figure::Pause => "pause ms",
            Figure::Cpu => "CPU µs each",
            Figure::OriginCpu => "origin µs each",
            Figure::PeakMemory => "peak MB",
            Figure::OriginConnections => "origin conns",
            Figure::OriginSegments => "asked a segment",
            Figure::OriginPlaylists => "playlists asked/s",
            Figure::Refused => "refused",
            Figure::Ended => "ended",
            Figure::Back => "back",
            Figure::Without => "without",
            Figure::Faults => "faults",
            Figure::Errors => "errors",
        }
    }

    pub fn better(self) -> Better {
        match self {
            Figure::PerSecond | Figure::Delivered => Better::More,
            Figure::P50 | Figure::P99 | Figure::Max | Figure::Pause => Better::Less,
            Figure::PlaylistP50 | Figure::PlaylistP99 | Figure::PlaylistMax => Better::Less,
            Figure::OriginSegments | Figure::OriginPlaylists => Better::Less,
            Figure::Cpu | Figure::OriginCpu | Figure::PeakMemory => Better::Less,
            _ => Better::Neither,
        }
    }

    /// What went wrong in any round is told; of the others the median counts.
    fn fold(self, values: &mut [f64]) -> f64 {
        match self {
            Figure::Refused
            | Figure::Ended
            | Figure::Back
            | Figure::Without
            | Figure::Faults
            | Figure::Errors => values.iter().sum(),
            Figure::OriginConnections | Figure::OriginSegments => {
                values.iter().copied().fold(0.0, f64::max)
            }
            _ => median(values),
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let upper = values.get(values.len() / 2);
    let lower = values.get(values.len().saturating_sub(1) / 2);
    match (lower, upper) {
        (Some(lower), Some(upper)) => (lower + upper) / 2.0,
        _ => f64::NAN,
    }
}

/// What one load gave through one proxy. A figure that was not taken is absent.
#[derive(Clone, Debug, Default)]
pub struct Figures(BTreeMap<Figure, f64>);

impl Figures {
    /// Adds a figure, or replaces it.
    pub fn set(&mut self, figure: Figure, value: f64) {
        self.0.insert(figure, value);
    }

    /// Adds a figure where there is one.
    pub fn set_known(&mut self, figure: Figure, value: Option<f64>) {
        if let Some(value) = value {
            self.set(figure, value);
        }
    }

    /// Adds p50, p99 and the highest of these microseconds, as milliseconds.
    pub fn set_quantiles(&mut self, micros: &mut [u32]) {
        self.set_quantiles_as([Figure::P50, Figure::P99, Figure::Max], micros);
    }

    /// The same by other names.
    pub fn set_quantiles_as(&mut self, names: [Figure; 3], micros: &mut [u32]) {
        micros.sort_unstable();
        for (figure, share) in names.into_iter().zip([0.5, 0.99, 1.0]) {
            let index = (micros.len().saturating_sub(1) as f64 * share) as usize;
            let value = micros
                .get(index)
                .map_or(f64::NAN, |&us| f64::from(us) / 1000.0);
            self.set(figure, value);
        }
    }

    /// These figures without the others.
    pub fn only(mut self, wanted: &[Figure]) -> Figures {
        self.0.retain(|figure, _| wanted.contains(figure));
        self
    }

    /// The figure; `None` when it was not taken.
    pub fn get(&self, figure: Figure) -> Option<f64> {
        self.0.get(&figure).copied()
    }

    pub fn names(&self) -> impl Iterator<Item = Figure> + '_ {
        self.0.keys().copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Figure, f64)> + '_ {
        self.0.iter().map(|(&figure, &value)| (figure, value))
    }

    /// The figures of several rounds as one.
    pub fn of_rounds(rounds: &[Figures]) -> Figures {
        let mut all: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
        for (figure, value) in rounds.iter().flat_map(Figures::iter) {
            all.entry(figure).or_default().push(value);
        }
        let folded = all
            .into_iter()
            .map(|(figure, mut values)| (figure, figure.fold(&mut values)));
        Figures(folded.collect())
    }
}
