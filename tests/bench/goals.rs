//! What the proxy is to reach, and whether it does: each goal beside the figure that it is about.

use crate::cached::{CROWD, HOT_PLAYLISTS, HOT_SEGMENTS};
use crate::failover::FAILOVER;
use crate::figures::{Figure, Figures};
use crate::late::LATE;
use crate::live_flv::{CHANNEL, STREAMS};
use crate::plain::{PLAYLISTS, SEGMENTS_16, SEGMENTS_64};
use crate::proxies::Target;
use crate::secured;
use crate::table::{Row, align, best_of_peers, number};

/// "Not worse than before" allows this much more: single figures move by some 10 % even on a quiet machine.
const NOISE: f64 = 1.1;

/// What a figure of ours may be.
#[derive(Clone, Copy, Debug)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
    Exactly(f64),
    /// At most so much of another's figure.
    Of(Reference, f64),
    /// At least so much of another's figure.
    Over(Reference, f64),
}

/// With whose figure ours is compared.
#[derive(Clone, Copy, Debug)]
enum Reference {
    /// The better one of nginx and HAProxy.
    Peers,
    Nginx,
    Haproxy,
    /// Ours before channels.
    Before,
}

/// The goals of a load, from its name: with the number of viewers at its end.
fn goals(load: &str) -> Vec<(Figure, Limit)> {
    let viewers = load
        .rsplit(' ')
        .next()
        .and_then(|word| word.parse::<usize>().ok())
        .unwrap_or(0);
    let mut goals = Vec::new();
    use Reference::{Before, Haproxy, Nginx, Peers};
    if load.starts_with(CHANNEL) {
        goals.push((Figure::OriginConnections, Limit::Exactly(1.0)));
        match viewers {
            0..100 => {}
            100..=1500 => goals.extend([
                (Figure::Cpu, Limit::Of(Haproxy, 0.6)),
                // Nothing, to the clock's exactness: /proc counts CPU in hundredths of a second.
                (Figure::OriginCpu, Limit::Of(Peers, 0.05)),
                (Figure::P50, Limit::Of(Peers, 0.7)),
                (Figure::P99, Limit::Of(Peers, 0.7)),
                (Figure::PeakMemory, Limit::AtMost(30.0)),
            ]),
            _ => goals.extend([
                // One encoder's frame in a thousand may come late on a full machine.
                (Figure::Delivered, Limit::AtLeast(99.9)),
                (Figure::PerSecond, Limit::Over(Peers, 1.4)),
                (Figure::P99, Limit::Of(Peers, 0.3)),
                (Figure::PeakMemory, Limit::AtMost(80.0)),
            ]),
        }
        goals.push((Figure::Refused, Limit::Exactly(0.0)));
        goals.push((Figure::Faults, Limit::Exactly(0.0)));
    } else if load.starts_with(STREAMS) {
        goals.push((Figure::Cpu, Limit::Of(Before, NOISE)));
        goals.push((Figure::P99, Limit::Of(Before, NOISE)));
        goals.push((Figure::Faults, Limit::Exactly(0.0)));
    } else if load.starts_with(LATE) {
        goals.push((Figure::Max, Limit::AtMost(50.0)));
        goals.push((Figure::Faults, Limit::Exactly(0.0)));
    } else if load.starts_with(FAILOVER) {
        goals.push((Figure::Max, Limit::AtMost(2000.0)));
        goals.push((Figure::Ended, Limit::Exactly(0.0)));
        goals.push((Figure::Back, Limit::Exactly(0.0)));
        goals.push((Figure::Without, Limit::Exactly(0.0)));
        goals.push((Figure::Faults, Limit::Exactly(0.0)));
    } else if load.starts_with(CROWD) {
        goals.push((Figure::OriginSegments, Limit::Exactly(1.0)));
        goals.push((Figure::Cpu, Limit::Of(Nginx, 1.0)));
        goals.push((Figure::Errors, Limit::Exactly(0.0)));
    } else if load.starts_with(secured::LIVE) {
        // The encoder sets the rate.
        goals.push((Figure::Delivered, Limit::AtLeast(99.9)));
        goals.push((Figure::Cpu, Limit::Of(Nginx, 1.0)));
        goals.push((Figure::OriginConnections, Limit::Exactly(1.0)));
        goals.push((Figure::Refused, Limit::Exactly(0.0)));
        goals.push((Figure::Faults, Limit::Exactly(0.0)));
    }
    goals.extend_from_slice(match load {
        HOT_PLAYLISTS => &[
            (Figure::PerSecond, Limit::Over(Nginx, 1.2)),
            (Figure::P99, Limit::Of(Nginx, 1.0)),
        ],
        HOT_SEGMENTS => &[
            (Figure::PerSecond, Limit::Over(Nginx, 1.2)),
            (Figure::Cpu, Limit::Of(Nginx, 1.0)),
        ],
        secured::HOT_PLAYLISTS | secured::HOT_SEGMENTS => &[
            (Figure::PerSecond, Limit::Over(Nginx, 1.0)),
            (Figure::Cpu, Limit::Of(Nginx, 1.0)),
        ],
        PLAYLISTS => &[(Figure::PerSecond, Limit::Over(Nginx, 0.5))],
        SEGMENTS_16 | SEGMENTS_64 => &[(Figure::PerSecond, Limit::Over(Haproxy, 1.0))],
        _ => &[],
    });
    goals
}

/// The table of goals; `None` when no load that was run has any.
pub fn render(rows: &[Row], markdown: bool) -> Option<String> {
    let headings = [
        "load", "figure", "goal", "ours", "before", "nginx", "HAProxy", "ratio", "",
    ];
    let mut lines = vec![headings.map(str::to_owned).to_vec()];
    for row in rows.iter().filter(|row| row.through == Target::Ours) {
        for (figure, limit) in goals(&row.load) {
            let of = |target| figure_of(rows, &row.load, target, figure);
            let ours = of(Target::Ours);
            let reference = match limit {
                Limit::Of(other, _) | Limit::Over(other, _) => match other {
                    Reference::Peers => best_of_peers(rows, &row.load, figure),
                    Reference::Nginx => of(Target::Nginx),
                    Reference::Haproxy => of(Target::Haproxy),
                    Reference::Before => of(Target::Before),
                },
                _ => None,
            };
            let ratio = ours.zip(reference).map(|(ours, other)| ours / other);
            let reached = match limit {
                Limit::AtMost(limit) => ours.map(|ours| ours <= limit),
                Limit::AtLeast(limit) => ours.map(|ours| ours >= limit),
                Limit::Exactly(limit) => ours.map(|ours| ours == limit),
                Limit::Of(_, limit) => ratio.map(|ratio| ratio <= limit),
                Limit::Over(_, limit) => ratio.map(|ratio| ratio >= limit),
            };
            let shown = |value: Option<f64>| value.map_or("-".to_owned(), number);
            let verdict = match reached {
                Some(true) => "reached",
                Some(false) => "NOT reached",
                None => "not measured",
            };
            lines.push(vec![
                row.load.clone(),
                figure.heading().to_owned(),
                words(limit),
                shown(ours),
                shown(of(Target::Before)),
                shown(of(Target::Nginx)),
                shown(of(Target::Haproxy)),
                shown(ratio),
                verdict.to_owned(),
            ]);
        }
    }
    (lines.len() > 1).then(|| format!("Goals.\n\n{}", align(&lines, 3, markdown)))
}

fn figure_of(rows: &[Row], load: &str, target: Target, figure: Figure) -> Option<f64> {
    let row = rows.iter().find(|row| row.is(load, target))?;
    row.figures
        .as_ref()
        .ok()
        .and_then(|figures: &Figures| figures.get(figure))
        .filter(|value| value.is_finite())
}

fn words(limit: Limit) -> String {
    match limit {
        Limit::AtMost(limit) => format!("at most {limit}"),
        Limit::AtLeast(limit) => format!("at least {limit}"),
        Limit::Exactly(limit) => format!("{limit}"),
        Limit::Of(other, limit) => format!("at most ×{limit} of {}", name(other)),
        Limit::Over(other, limit) => format!("at least ×{limit} of {}", name(other)),
    }
}

fn name(reference: Reference) -> &'static str {
    match reference {
        Reference::Peers => "the better peer",
        Reference::Nginx => "nginx",
        Reference::Haproxy => "HAProxy",
        Reference::Before => "before",
    }
}
