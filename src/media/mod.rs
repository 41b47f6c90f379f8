//! Media containers and codec configuration: FLV tags, TS packets, ADTS frames. Pure code: bytes in, bytes or values out.

pub mod adts;
pub mod codec;
pub mod flv;
pub mod ts;
