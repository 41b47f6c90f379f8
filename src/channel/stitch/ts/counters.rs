//! Continuity counters: each PID's goes on where it was (ISO/IEC 13818-1, 2.4.3.3).

use crate::media::format::NotThisFormat;
use crate::media::ts::packet::{self, Packet};

/// The most PIDs of a stream. A program of a broadcaster has some twenty.
const MAX_PIDS: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Counter {
    pid: u16,
    /// Of the last packet sent.
    last: u8,
    /// Added to the origin's.
    offset: u8,
    /// The next packet is of another connection, whose counter stands anywhere.
    is_due: bool,
    /// The last packet had the counter of the one before it.
    repeats: bool,
}

/// The counters of all PIDs, as viewers see them. What is odd in the origin's, gaps and repeated packets, stays.
#[derive(Clone, Debug, Default)]
pub struct Counters(Vec<Counter>);

impl Counters {
    /// The packets that follow are of another connection.
    pub fn splice(&mut self) {
        for counter in &mut self.0 {
            counter.is_due = true;
        }
    }

    /// The counter of the last packet sent on `pid`.
    #[cfg(test)]
    pub fn last(&self, pid: u16) -> Option<u8> {
        self.get(pid).map(|counter| counter.last)
    }

    /// The counter of a packet that may stand before the next one on `pid`. SRS writes each table with counter 0,
    /// and one that repeats what stood before would be taken for the same table.
    pub fn before_next(&self, pid: u16) -> u8 {
        match self.get(pid) {
            Some(counter) if counter.repeats => counter.last.wrapping_sub(1) & 0xF,
            Some(counter) => counter.last,
            None => 0xF,
        }
    }

    fn get(&self, pid: u16) -> Option<&Counter> {
        self.0.iter().find(|counter| counter.pid == pid)
    }

    /// Makes the counter of a packet that goes out now follow the last one on its PID.
    ///
    /// # Errors
    /// [`NotThisFormat`], when there are too many PIDs.
    pub fn stamp(&mut self, bytes: &mut [u8]) -> Result<(), NotThisFormat> {
        let Some(packet) = Packet::new(bytes) else {
            return Ok(());
        };
        let (counts, number) = (u8::from(packet.has_payload()), packet.counter());
        let counter = self.of(packet.pid(), number.wrapping_sub(counts))?;
        if counter.is_due {
            // A packet without payload repeats the counter of the one before.
            counter.offset = (counter.last + counts).wrapping_sub(number) & 0xF;
            counter.is_due = false;
        }
        let last = number.wrapping_add(counter.offset) & 0xF;
        counter.repeats = last == std::mem::replace(&mut counter.last, last);
        if counter.offset != 0 {
            packet::set_counter(bytes, counter.last);
        }
        Ok(())
    }

    /// Gives a packet of tables that goes out now the counter after the last one on its PID.
    ///
    /// # Errors
    /// [`NotThisFormat`], when there are too many PIDs.
    pub fn number(&mut self, bytes: &mut [u8]) -> Result<(), NotThisFormat> {
        let Some(packet) = Packet::new(bytes) else {
            return Ok(());
        };
        let counts = u8::from(packet.has_payload());
        let counter = self.of(packet.pid(), packet.counter().wrapping_sub(counts))?;
        counter.last = (counter.last + counts) & 0xF;
        (counter.is_due, counter.repeats) = (false, false);
        packet::set_counter(bytes, counter.last);
        Ok(())
    }

    /// The counter of `pid`; a new one is taken to have been at `before`.
    fn of(&mut self, pid: u16, before: u8) -> Result<&mut Counter, NotThisFormat> {
        let index = match self.0.iter().position(|counter| counter.pid == pid) {
            Some(index) => index,
            None if self.0.len() >= MAX_PIDS => {
                return Err(NotThisFormat("a transport stream of more than 64 PIDs"));
            }
            None => {
                self.0.push(Counter {
                    pid,
                    last: before & 0xF,
                    offset: 0,
                    is_due: false,
                    repeats: false,
                });
                self.0.len() - 1
            }
        };
        Ok(&mut self.0[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ts::packet::PACKET;

    fn packet(pid: u16, counter: u8, payload: bool) -> [u8; PACKET] {
        let mut packet = [0xFF; PACKET];
        let control = if payload { 0x10 } else { 0x20 };
        packet[..5].copy_from_slice(&[0x47, 0, 0, control | counter, 183]);
        packet::set_pid(&mut packet, pid);
        packet
    }

    #[test]
    fn counters_go_on() {
        let mut counters = Counters::default();
        let stamp = |counters: &mut Counters, number, payload| {
            let mut packet = packet(0x100, number, payload);
            counters.stamp(&mut packet).unwrap();
            packet[3] & 0xF
        };
        // As they were: a gap, a repeated packet, one without payload.
        for number in [14, 15, 0, 2, 2, 3] {
            assert_eq!(stamp(&mut counters, number, true), number);
        }
        assert_eq!(stamp(&mut counters, 3, false), 3);
        counters.splice();
        for (number, payload, expected) in [
            (9, true, 4),
            (9, true, 4),
            (10, true, 5),
            (10, false, 5),
            (12, true, 7),
        ] {
            assert_eq!(stamp(&mut counters, number, payload), expected);
        }
        counters.splice();
        for (number, payload, expected) in [(0, false, 7), (1, true, 8)] {
            assert_eq!(stamp(&mut counters, number, payload), expected);
        }
        assert_eq!(
            (counters.last(0x100), counters.last(0x101)),
            (Some(8), None)
        );
    }

    #[test]
    fn tables_are_numbered() {
        let mut counters = Counters::default();
        // SRS writes all tables with 0.
        let numbers = [0, 0, 0].map(|number| {
            let mut packet = packet(0, number, true);
            counters.number(&mut packet).unwrap();
            packet[3] & 0xF
        });
        assert_eq!(numbers, [0, 1, 2]);
    }

    #[test]
    fn pids_are_bounded() {
        let mut counters = Counters::default();
        let stamped = (0..70).map(|pid| counters.stamp(&mut packet(pid, 0, true)).is_ok());
        assert_eq!(stamped.filter(|ok| *ok).count(), MAX_PIDS);
    }
}
