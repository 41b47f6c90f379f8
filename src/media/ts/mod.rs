//! MPEG transport stream (ISO/IEC 13818-1).

pub mod packet;
