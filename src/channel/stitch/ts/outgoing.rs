//! The tables that viewers have, and which PID of a connection is which of theirs.

use super::counters::Counters;
use super::incoming::Tables;
use crate::media::ts::packet::DISCONTINUITY_FIELD;
use crate::media::ts::section;
use crate::media::ts::tables::{Streams, set_pmt_pid};

/// The tables as viewers have them.
#[derive(Debug)]
pub struct Outgoing {
    pub pat: Vec<u8>,
    pub pmt: Vec<u8>,
    pub pmt_pid: u16,
    pub number: u16,
    pub streams: Streams,
}

/// A connection's PID, and the viewers' PID that it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    pub from: u16,
    pub to: u16,
    /// Index in the viewers' list of streams. `None`: the PID has nothing but clock references.
    pub stream: Option<usize>,
}

impl Outgoing {
    /// The connection's own tables.
    pub fn of(tables: &Tables<'_>) -> Self {
        Self {
            pat: tables.pat.to_vec(),
            pmt: tables.pmt.to_vec(),
            pmt_pid: tables.program.pmt_pid,
            number: tables.program.number,
            streams: tables.streams.clone(),
        }
    }

    /// How a connection's PIDs become the viewers', where viewers know streams of the same types. SRS begins with a
    /// PMT of the streams that it has seen so far, and another one follows: streams may be missing, and stand in
    /// another order. `None`: viewers need other tables.
    pub fn pairs(&self, streams: &Streams) -> Option<Vec<Pair>> {
        let mut free: Vec<bool> = vec![true; self.streams.list.len()];
        let mut pairs = Vec::new();
        for stream in &streams.list {
            let known = self.streams.list.iter().zip(&free);
            let index = known
                .take(free.len())
                .position(|(it, free)| *free && it.is_like(stream))?;
            free[index] = false;
            pairs.push(Pair {
                from: stream.pid,
                to: self.streams.list[index].pid,
                stream: Some(index),
            });
        }
        match (streams.pcr_stream(), self.streams.pcr_stream()) {
            (Some(from), Some(to)) if pairs[from].stream == Some(to) => Some(pairs),
            (None, None) => {
                pairs.push(Pair {
                    from: streams.pcr_pid,
                    to: self.streams.pcr_pid,
                    stream: None,
                });
                Some(pairs)
            }
            _ => None,
        }
    }

    /// The PIDs of these tables' own streams, which stay as they are.
    pub fn own_pairs(&self) -> Vec<Pair> {
        let streams = self.streams.list.iter().enumerate();
        let mut pairs: Vec<Pair> = streams
            .map(|(index, stream)| Pair {
                from: stream.pid,
                to: stream.pid,
                stream: Some(index),
            })
            .collect();
        if self.streams.pcr_stream().is_none() {
            pairs.push(Pair {
                from: self.streams.pcr_pid,
                to: self.streams.pcr_pid,
                stream: None,
            });
        }
        pairs
    }

    /// Whether a connection with these streams has fewer than viewers were told of.
    pub fn has_more_than(&self, streams: &Streams) -> bool {
        self.streams.list.len() > streams.list.len()
    }

    /// Takes over a connection's streams with their PIDs, as a new version of the viewers' tables. PAT, program
    /// number and the PMT's PID stay unless a stream needs that PID.
    pub fn replace(&mut self, tables: &Tables<'_>) {
        let next = |section: &[u8]| (section::version(section) + 1) & 0x1F;
        let version = next(&self.pmt);
        self.streams = tables.streams.clone();
        self.pmt = tables.pmt.to_vec();
        section::set_head(&mut self.pmt, version, self.number);
        let is_needed = self.streams.pcr_pid == self.pmt_pid
            || self
                .streams
                .list
                .iter()
                .any(|stream| stream.pid == self.pmt_pid);
        if is_needed {
            self.pmt_pid = tables.program.pmt_pid;
            let extension = [3, 4].map(|at| self.pat.get(at).copied().unwrap_or_default());
            let version = next(&self.pat);
            section::set_head(&mut self.pat, version, u16::from_be_bytes(extension));
            set_pmt_pid(&mut self.pat, self.pmt_pid);
        }
    }

    /// Packets with the PAT, whose counters are still to be set; with `jumps`, marked as a discontinuity.
    pub fn write_pat(&self, jumps: bool, out: &mut Vec<u8>) {
        let field = if jumps { DISCONTINUITY_FIELD } else { &[] };
        section::packets(out, 0, &mut 0, &self.pat, field);
    }

    /// As [`Self::write_pat`] with the PMT.
    pub fn write_pmt(&self, jumps: bool, out: &mut Vec<u8>) {
        let field = if jumps { DISCONTINUITY_FIELD } else { &[] };
        section::packets(out, self.pmt_pid, &mut 0, &self.pmt, field);
    }

    /// PAT and PMT for who joins, with the counters that those sent last had: the next ones follow them.
    pub fn opening(&self, counters: &Counters) -> Vec<u8> {
        let mut out = Vec::new();
        for (pid, table) in [(0, &self.pat), (self.pmt_pid, &self.pmt)] {
            let (mut packets, mut count) = (Vec::new(), 0);
            section::packets(&mut packets, pid, &mut count, table, &[]);
            let last = u64::from(counters.before_next(pid));
            let mut counter = last.wrapping_sub(count).wrapping_add(1);
            section::packets(&mut out, pid, &mut counter, table, &[]);
        }
        out
    }
}
