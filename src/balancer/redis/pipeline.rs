//! Commands that go out together: one round trip, a value for each.

use redis::{Cmd, Connection, ConnectionLike, Pipeline, RedisError, Value};

/// Sends all commands at once and gives a value for each.
///
/// # Errors
/// The connection's; that Redis refuses one command is its value.
pub fn send<'a>(
    connection: &mut Connection,
    commands: impl Iterator<Item = &'a Cmd>,
) -> Result<Vec<Value>, RedisError> {
    let mut pipeline = Pipeline::new();
    let mut count = 0;
    for command in commands {
        pipeline.add_command(command.clone());
        count += 1;
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    connection.req_packed_commands(&pipeline.get_packed_pipeline(), 0, count)
}

/// An error without its line breaks: it goes into one log line.
pub fn one_line(error: &RedisError) -> String {
    error
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
