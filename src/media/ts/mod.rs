//! MPEG transport stream (ISO/IEC 13818-1).

pub mod framing;
pub mod packet;
pub mod pes;
pub mod random_access;
pub mod section;
pub mod tables;
