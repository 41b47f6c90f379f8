//! The tables of one origin connection, as they arrive.

use crate::media::format::NotThisFormat;
use crate::media::ts::packet::Packet;
use crate::media::ts::section::SectionAssembler;
use crate::media::ts::tables::{Program, Streams};

/// What is known of the connection's tables.
#[derive(Debug, Default)]
pub struct Incoming {
    pat_sections: SectionAssembler,
    pmt_sections: SectionAssembler,
    pat: Vec<u8>,
    pmt: Vec<u8>,
    program: Option<Program>,
    streams: Option<Streams>,
}

/// Whole tables of a connection.
pub struct Tables<'i> {
    pub pat: &'i [u8],
    pub pmt: &'i [u8],
    pub program: Program,
    pub streams: &'i Streams,
}

/// Which table a packet has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completed {
    Pat,
    Pmt,
    /// The PMT, which says something else than the one before.
    NewPmt,
}

impl Incoming {
    /// Whether packets of `pid` are of a table.
    pub fn has_tables(&self, pid: u16) -> bool {
        pid == 0 || self.program.is_some_and(|program| program.pmt_pid == pid)
    }

    /// Takes a packet of a table. Gives the table that it completed.
    ///
    /// # Errors
    /// [`NotThisFormat`] where there are several programs.
    pub fn take(&mut self, packet: Packet<'_>) -> Result<Option<Completed>, NotThisFormat> {
        match packet.pid() {
            0 => self.take_pat(packet),
            _ => Ok(self.take_pmt(packet)),
        }
    }

    fn take_pat(&mut self, packet: Packet<'_>) -> Result<Option<Completed>, NotThisFormat> {
        let Self {
            pat_sections,
            pmt_sections,
            pat,
            pmt,
            program,
            streams,
        } = self;
        let mut completed = None;
        pat_sections.push(packet.payload(), packet.starts(), |section| {
            if section == pat {
                completed = Some(Completed::Pat);
                return Ok(());
            }
            let Some(listed) = Program::parse(section)? else {
                return Ok(());
            };
            completed = Some(Completed::Pat);
            *pat = section.to_vec();
            if program.replace(listed) != Some(listed) {
                *pmt_sections = SectionAssembler::default();
                pmt.clear();
                *streams = None;
            }
            Ok(())
        })?;
        Ok(completed)
    }

    fn take_pmt(&mut self, packet: Packet<'_>) -> Option<Completed> {
        let Self {
            pmt_sections,
            pmt,
            program,
            streams,
            ..
        } = self;
        let number = program.map(|program| program.number.to_be_bytes());
        let mut completed = None;
        let pushed = pmt_sections.push(packet.payload(), packet.starts(), |section| {
            if section == pmt {
                completed = completed.or(Some(Completed::Pmt));
                return Ok::<(), std::convert::Infallible>(());
            }
            if section.get(3..5) != number.as_ref().map(|number| &number[..]) {
                return Ok(());
            }
            if let Some(listed) = Streams::parse(section) {
                completed = Some(Completed::NewPmt);
                *pmt = section.to_vec();
                *streams = Some(listed);
            }
            Ok(())
        });
        let Ok(()) = pushed;
        completed
    }

    /// The tables, once both are there.
    pub fn tables(&self) -> Option<Tables<'_>> {
        Some(Tables {
            pat: &self.pat,
            pmt: &self.pmt,
            program: self.program?,
            streams: self.streams.as_ref()?,
        })
    }
}
