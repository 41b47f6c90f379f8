//! What has been measured so far, and the words around the table.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::figures::{Better, Figure, Figures};
use crate::options::Options;
use crate::proxies::{OUR_BINARY, Target};
use crate::table::{self, Row, Section, number};
use crate::{goals, procfs, system};

pub struct Report<'a> {
    pub options: &'a Options,
    /// Where configurations, files and logs go.
    pub directory: PathBuf,
    rows: Vec<Row>,
    facts: Vec<String>,
    directories: usize,
}

impl<'a> Report<'a> {
    pub fn new(options: &'a Options, directory: &Path) -> Report<'a> {
        Report {
            options,
            directory: directory.to_owned(),
            rows: Vec::new(),
            facts: Vec::new(),
            directories: 0,
        }
    }

    /// A directory that nobody has used yet.
    pub fn new_directory(&mut self) -> Result<PathBuf> {
        self.directories += 1;
        let directory = self.directory.join(self.directories.to_string());
        system::make_directory(&directory)?;
        Ok(directory)
    }

    /// Measures `load` through each of `wanted` that was asked for, by turns in each round, and keeps the medians.
    /// What has a row already is not measured again.
    pub fn compare(
        &mut self,
        section: Section,
        load: &str,
        wanted: &[Target],
        mut measure: impl FnMut(&mut Report, Target) -> Result<Figures>,
    ) {
        let missing = |target: &Target| !self.rows.iter().any(|row| row.is(load, *target));
        let targets: Vec<Target> = wanted
            .iter()
            .copied()
            .filter(|target| self.options.only.contains(target))
            .filter(missing)
            .collect();
        let mut rounds: Vec<Vec<Result<Figures>>> = vec![Vec::new(); targets.len()];
        for _ in 0..self.options.rounds() {
            for (&target, results) in targets.iter().zip(&mut rounds) {
                let result = measure(self, target);
                eprintln!("{load}, {target}: {}", said(&result));
                results.push(result);
            }
        }
        for (through, results) in targets.into_iter().zip(rounds) {
            let rounds: Result<Vec<Figures>> = results.into_iter().collect();
            let figures = rounds.map(|rounds| Figures::of_rounds(&rounds));
            self.rows.push(Row {
                section,
                load: load.to_owned(),
                through,
                figures,
            });
        }
    }

    pub fn figures(&self, load: &str, through: Target) -> Option<&Figures> {
        let row = self.rows.iter().find(|row| row.is(load, through))?;
        row.figures.as_ref().ok()
    }

    /// A sentence to print below the table.
    pub fn fact(&mut self, fact: String) {
        eprintln!("{fact}");
        self.facts.push(fact);
    }

    pub fn failed(&self) -> bool {
        self.rows.iter().any(|row| row.figures.is_err())
    }

    pub fn print(&self, markdown: bool) {
        let bullet = if markdown { "- " } else { "" };
        println!();
        println!(
            "{} processor(s), shared by load, origin and proxy; medians of {} round(s) of {} s{}.",
            system::cores(),
            self.options.rounds(),
            self.options.window().as_secs(),
            if self.options.quick {
                "; a quick run, no results"
            } else {
                ""
            }
        );
        println!(
            "×: the ratio to the best peer (nginx, HAProxy). The row `direct` has no proxy: what a proxy adds is the\n\
             difference to it.\n"
        );
        println!("{}", table::render(&self.rows, markdown));
        if let Some(goals) = goals::render(&self.rows, markdown) {
            println!("{goals}");
        }
        for fact in &self.facts {
            println!("{bullet}{fact}");
        }
        if let Ok(binary) = std::fs::metadata(OUR_BINARY) {
            println!(
                "{bullet}Size of the binary, stripped: {} MB.",
                number(binary.len() as f64 / 1e6)
            );
        }
    }
}

fn said(result: &Result<Figures>) -> String {
    let words = |(figure, value): (Figure, f64)| match figure.better() {
        Better::Neither => format!("{} {value:.0}", figure.heading()),
        _ => format!("{} {}", figure.heading(), number(value)),
    };
    match result {
        Ok(figures) => figures.iter().map(words).collect::<Vec<_>>().join(", "),
        Err(error) => error.clone(),
    }
}

/// CPU time and peak memory of a proxy while `load` runs: the figures that only /proc knows.
pub fn with_costs(
    pid: Option<u32>,
    load: impl FnOnce() -> Result<(Figures, u64)>,
) -> Result<Figures> {
    let before = pid.map(procfs::cpu_time);
    let (mut figures, requests) = load()?;
    if let (Some(pid), Some(before)) = (pid, before) {
        let used = procfs::cpu_time(pid).saturating_sub(before);
        figures.set(
            Figure::Cpu,
            used.as_secs_f64() * 1e6 / requests.max(1) as f64,
        );
        figures.set(Figure::PeakMemory, procfs::peak_memory(pid) as f64 / 1e6);
    }
    Ok(figures)
}
