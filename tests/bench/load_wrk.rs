//! HLS load: wrk, and what it prints.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::children;
use crate::figures::{Figure, Figures};
use crate::report::with_costs;
use crate::system::{cores, program};
use crate::{Result, options::Options};

/// What to ask for, again and again over kept connections.
pub struct Load<'a> {
    pub url: &'a str,
    pub clients: usize,
    /// What each answer must hold at least, in bytes, head and body.
    pub answer_bytes: usize,
    /// A Lua script that makes the requests, where one URL is not enough.
    pub script: Option<&'a Path>,
}

impl Load<'_> {
    /// Warms up, then measures. `pid` is the proxy, if there is one.
    pub fn measure(&self, options: &Options, pid: Option<u32>) -> Result<Figures> {
        self.run(options.warm_up())?;
        with_costs(pid, || self.run(options.window()))
    }

    /// Gives the figures and the number of requests.
    fn run(&self, duration: Duration) -> Result<(Figures, u64)> {
        // A script counts its requests for itself in each thread, so it gets but one.
        let threads = if self.script.is_some() {
            1
        } else {
            self.clients.min(cores()).min(2)
        };
        let mut command = Command::new(program("wrk")?);
        command.arg("--latency").args(["--timeout", "10s"]);
        command.args(["-t", &threads.to_string(), "-c", &self.clients.to_string()]);
        command.args(["-d", &format!("{}s", duration.as_secs())]);
        if let Some(script) = self.script {
            command.arg("-s").arg(script);
        }
        let output = children::run("wrk", command.arg(self.url))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(format!(
                "wrk: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ));
        }
        let wrk =
            parse(&text).ok_or_else(|| format!("wrk printed what is not understood: {text}"))?;
        // wrk checks statuses, not bodies; an answer that is too short shows in the sum (known to three digits).
        let expected = wrk.requests as f64 * self.answer_bytes as f64;
        if wrk.errors == 0 && wrk.bytes < expected * 0.97 {
            return Err(format!(
                "answers are too short: {} requests gave {} bytes",
                wrk.requests, wrk.bytes
            ));
        }
        let mut figures = Figures::default();
        figures.set(Figure::PerSecond, wrk.requests as f64 / wrk.seconds);
        figures.set(Figure::P50, wrk.p50_ms);
        figures.set(Figure::P99, wrk.p99_ms);
        figures.set(Figure::Max, wrk.max_ms);
        figures.set(Figure::Errors, wrk.errors as f64);
        Ok((figures, wrk.requests))
    }
}

struct Printed {
    requests: u64,
    seconds: f64,
    bytes: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    errors: u64,
}

fn parse(text: &str) -> Option<Printed> {
    // "  Latency     1.12ms    2.20ms  41.96ms   94.05%": mean, deviation, max, share within a deviation.
    let max_ms = milliseconds(line(text, "Latency")?.split_ascii_whitespace().nth(2)?)?;
    // "  44061 requests in 1.10s, 34.04MB read"
    let sum = text.lines().find(|line| line.contains(" requests in "))?;
    let mut words = sum.split_ascii_whitespace();
    let requests = words.next()?.parse().ok()?;
    let seconds = milliseconds(words.nth(2)?.trim_end_matches(','))? / 1000.0;
    let bytes = bytes(words.next()?)?;
    // "  Socket errors: connect 0, read 0, write 0, timeout 0"
    let socket_errors: u64 = line(text, "Socket errors:")
        .unwrap_or_default()
        .split([' ', ','])
        .filter_map(|word| word.parse::<u64>().ok())
        .sum();
    let statuses = line(text, "Non-2xx or 3xx responses:")
        .map_or(Some(0), |count| count.trim().parse().ok())?;
    Some(Printed {
        requests,
        seconds,
        bytes,
        p50_ms: milliseconds(line(text, "50%")?.trim())?,
        p99_ms: milliseconds(line(text, "99%")?.trim())?,
        max_ms,
        errors: socket_errors + statuses,
    })
}

/// The rest of the line that begins so.
fn line<'a>(text: &'a str, begin: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.trim_start().strip_prefix(begin))
}

/// `41.96ms`, `873.00us`, `1.10s`, `2.00m` in milliseconds.
fn milliseconds(text: &str) -> Option<f64> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        _ => return None,
    };
    Some(number * factor)
}

/// `34.04MB` in bytes; wrk counts in 1024s.
fn bytes(text: &str) -> Option<f64> {
    let (number, unit) = split_unit(text)?;
    let power = ["B", "KB", "MB", "GB", "TB"]
        .iter()
        .position(|&known| known == unit)?;
    Some(number * 1024_f64.powi(power as i32))
}

fn split_unit(text: &str) -> Option<(f64, &str)> {
    let (number, unit) = text.split_at(text.find(|byte: char| byte.is_ascii_alphabetic())?);
    Some((number.parse().ok()?, unit))
}
