//! Which origin has the stream.

mod failing_over;
mod finding;
mod half_dead;
mod moved;
mod unlisted;
mod waiting;
