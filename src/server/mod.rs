//! From a clean head to an answer: the private tiny_http server and its accept loop, the workers, the
//! exchange with a client, and how heads, bodies and errors are written. No sockets, streams or origins.

pub mod answers;
pub mod body;
pub mod context;
pub mod endpoint;
pub mod exchange;
pub mod failure;
pub mod profile;
pub mod record;
pub mod response;
#[expect(clippy::module_inception, reason = "the room's main noun")]
pub mod server;
