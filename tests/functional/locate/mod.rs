//! Which origin has the stream.

mod failing_over;
mod finding;
mod moved;
mod waiting;
