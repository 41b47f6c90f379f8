//! Live channels: one origin connection for all viewers of a stream in one format.
#![allow(dead_code)]

mod budget;
mod piece;
mod ring;
mod stitch;
