//! The table: figures, their ratio to the best peer's, and how they are printed.

use crate::Result;
use crate::proxies::Target;

/// What one load gave through one proxy.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Requests or frames.
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// Processor time of all the proxy's processes for each request or frame, in microseconds.
    pub cpu_us: Option<f64>,
    /// Peak of resident memory, summed over the proxy's processes, in 10⁶ bytes.
    pub peak_mb: Option<f64>,
    /// Requests that failed or were answered wrongly, or viewers that did not get their stream.
    pub errors: u64,
}

/// A load, what it went through, and its figures or why there are none.
pub struct Row {
    pub load: String,
    pub through: Target,
    pub figures: Result<Figures>,
}

impl Figures {
    /// The median of each figure, and the errors of all rounds together. There must be a round.
    pub fn median(rounds: &[Figures]) -> Figures {
        let of = |get: fn(&Figures) -> Option<f64>| {
            let mut values: Vec<f64> = rounds.iter().filter_map(get).collect();
            values.sort_unstable_by(f64::total_cmp);
            let upper = values.get(values.len() / 2)?;
            let lower = values.get(values.len().saturating_sub(1) / 2)?;
            Some((lower + upper) / 2.0)
        };
        Figures {
            per_second: of(|round| Some(round.per_second)).unwrap_or(f64::NAN),
            p50_ms: of(|round| Some(round.p50_ms)).unwrap_or(f64::NAN),
            p99_ms: of(|round| Some(round.p99_ms)).unwrap_or(f64::NAN),
            max_ms: of(|round| Some(round.max_ms)).unwrap_or(f64::NAN),
            cpu_us: of(|round| round.cpu_us),
            peak_mb: of(|round| round.peak_mb),
            errors: rounds.iter().map(|round| round.errors).sum(),
        }
    }
}

impl Row {
    /// Whether this is the row of that load through that target.
    pub fn is(&self, load: &str, through: Target) -> bool {
        self.load == load && self.through == through
    }
}

const HEADINGS: [&str; 9] = [
    "load",
    "through",
    "per second",
    "p50 ms",
    "p99 ms",
    "max ms",
    "CPU µs each",
    "peak MB",
    "errors",
];

/// A column of numbers: how to get it, and whether more is better.
type Column = (fn(&Figures) -> Option<f64>, bool);

const COLUMNS: [Column; 6] = [
    (|figures| Some(figures.per_second), true),
    (|figures| Some(figures.p50_ms), false),
    (|figures| Some(figures.p99_ms), false),
    (|figures| Some(figures.max_ms), false),
    (|figures| figures.cpu_us, false),
    (|figures| figures.peak_mb, false),
];

/// The table as text, each figure followed by its ratio to the best peer's figure for the same load.
pub fn render(rows: &[Row], markdown: bool) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned).to_vec()];
    let mut failures = Vec::new();
    for row in rows {
        match &row.figures {
            Ok(figures) => lines.push(cells(row, figures, rows)),
            Err(error) => failures.push(format!("{}, {}: {error}", row.load, row.through)),
        }
    }
    let mut text = align(&lines, markdown);
    for failure in failures {
        text.push_str(&format!("\nNot measured: {failure}\n"));
    }
    text
}

fn cells(row: &Row, figures: &Figures, rows: &[Row]) -> Vec<String> {
    let peers: Vec<&Figures> = rows
        .iter()
        .filter(|other| other.load == row.load && other.through.is_peer())
        .filter_map(|other| other.figures.as_ref().ok())
        .collect();
    let mut cells = vec![row.load.clone(), row.through.to_string()];
    for (get, more_is_better) in COLUMNS {
        let pick = if more_is_better { f64::max } else { f64::min };
        let best = peers.iter().filter_map(|peer| get(peer)).reduce(pick);
        cells.push(match (get(figures), best) {
            (None, _) => "-".to_owned(),
            (Some(value), Some(best)) if row.through != Target::Direct && best > 0.0 => {
                format!("{} ×{:.2}", number(value), value / best)
            }
            (Some(value), _) => number(value),
        });
    }
    cells.push(figures.errors.to_string());
    cells
}

/// Three digits or so, as a person would say it.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "-".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn align(lines: &[Vec<String>], markdown: bool) -> String {
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let (before, between, after) = if markdown {
        ("| ", " | ", " |")
    } else {
        ("", "  ", "")
    };
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let padded: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| {
                if column < 2 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        text.push_str(&format!("{before}{}{after}\n", padded.join(between)));
        if index == 0 {
            let rules: Vec<String> = widths
                .iter()
                .enumerate()
                .map(|(column, &width)| match column {
                    0 | 1 => "-".repeat(width),
                    _ if markdown => "-".repeat(width - 1) + ":",
                    _ => "-".repeat(width),
                })
                .collect();
            text.push_str(&format!("{before}{}{after}\n", rules.join(between)));
        }
    }
    text
}
