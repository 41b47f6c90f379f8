//! FLV (Adobe's FLV specification 10.1, annex E).

pub mod metadata;
pub mod tag;
