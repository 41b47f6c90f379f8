//! The tables: figures, their ratio to the best peer's, and how they are printed.

use crate::Result;
use crate::figures::{Better, Figure, Figures};
use crate::proxies::Target;

/// A table of its own, for loads with the same figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// HTTP requests, and live streams with an encoder for each viewer.
    Plain,
    /// Viewers of live HLS.
    Hls,
    /// Live streams of encoders that send each frame to all their viewers at once.
    Live,
    /// From a late viewer's request to its first frame.
    FirstFrame,
    /// From the killing of an origin to each viewer's next frame.
    Failover,
}

impl Section {
    pub const ALL: [Section; 5] = [
        Section::Plain,
        Section::Hls,
        Section::Live,
        Section::FirstFrame,
        Section::Failover,
    ];

    /// What stands above the table.
    fn title(self) -> &'static str {
        match self {
            Section::Plain => {
                "Requests, and live frames of an encoder a viewer. Live latency is from the origin's write to the player's read."
            }
            Section::Hls => {
                "Live HLS out of memory: playlists and segments. p50, p99 and max are those of segments; CPU is for each viewer and second."
            }
            Section::Live => {
                "Live FLV. Latency is from the moment the encoder has a frame to the player's read; CPU is for each frame and viewer."
            }
            Section::FirstFrame => {
                "Late viewers: milliseconds from the request to the first whole frame."
            }
            Section::Failover => {
                "kill -9 of the origin: milliseconds until each viewer has the next frame, from the other origin."
            }
        }
    }
}

/// A load, what it went through, and its figures or why there are none.
pub struct Row {
    pub section: Section,
    pub load: String,
    pub through: Target,
    pub figures: Result<Figures>,
}

impl Row {
    /// Whether this is the row of that load through that target.
    pub fn is(&self, load: &str, through: Target) -> bool {
        self.load == load && self.through == through
    }
}

/// The best figure of nginx and HAProxy for a load; `None` when neither has one.
pub fn best_of_peers(rows: &[Row], load: &str, figure: Figure) -> Option<f64> {
    let pick = if figure.better() == Better::More {
        f64::max
    } else {
        f64::min
    };
    rows.iter()
        .filter(|row| row.load == load && row.through.is_peer())
        .filter_map(|row| row.figures.as_ref().ok()?.get(figure))
        .filter(|value| value.is_finite())
        .reduce(pick)
}

/// Each section's table as text, each figure followed by its ratio to the best peer's figure for the same load.
pub fn render(rows: &[Row], markdown: bool) -> String {
    let mut text = String::new();
    for section in Section::ALL {
        let of_section = |row: &&Row| row.section == section;
        let mut columns: Vec<Figure> = rows
            .iter()
            .filter(of_section)
            .flat_map(|row| row.figures.iter().flat_map(Figures::names))
            .collect();
        if columns.is_empty() {
            continue;
        }
        columns.sort_unstable();
        columns.dedup();
        let headings = columns.iter().map(|column| column.heading().to_owned());
        let mut lines = vec![["load", "through"].map(str::to_owned).to_vec()];
        lines[0].extend(headings);
        for row in rows.iter().filter(of_section) {
            if let Ok(figures) = &row.figures {
                lines.push(cells(row, figures, &columns, rows));
            }
        }
        text.push_str(&format!("{}\n\n", section.title()));
        text.push_str(&align(&lines, 2, markdown));
        text.push('\n');
    }
    for row in rows {
        if let Err(error) = &row.figures {
            text.push_str(&format!(
                "Not measured: {}, {}: {error}\n",
                row.load, row.through
            ));
        }
    }
    text
}

fn cells(row: &Row, figures: &Figures, columns: &[Figure], rows: &[Row]) -> Vec<String> {
    let mut cells = vec![row.load.clone(), row.through.to_string()];
    for &column in columns {
        let best = match column.better() {
            Better::Neither => None,
            _ if row.through == Target::Direct => None,
            _ => best_of_peers(rows, &row.load, column).filter(|&best| best > 0.0),
        };
        cells.push(match (figures.get(column), best) {
            (None, _) => "-".to_owned(),
            (Some(value), Some(best)) => format!("{} ×{:.2}", number(value), value / best),
            (Some(value), None) if column.better() == Better::Neither => format!("{value:.0}"),
            (Some(value), None) => number(value),
        });
    }
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

/// Lines of cells as a table, the first line being headings, the first `words` columns words and the others numbers.
pub fn align(lines: &[Vec<String>], words: usize, markdown: bool) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns)
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
                if column < words {
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
                    _ if markdown && column >= words => "-".repeat(width.saturating_sub(1)) + ":",
                    _ => "-".repeat(width),
                })
                .collect();
            text.push_str(&format!("{before}{}{after}\n", rules.join(between)));
        }
    }
    text
}
