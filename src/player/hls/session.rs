//! The stream that an HLS session id names, also where another proxy made the id.

use crate::balancer::Balancer;
use crate::stream::session::stream_of_session;
use crate::stream::url::StreamUrl;

/// The stream of a session: from the id where it is ours, else from where another proxy has left it.
pub fn stream_of(id: &str, balancer: &dyn Balancer) -> Option<StreamUrl> {
    stream_of_session(id).or_else(|| balancer.foreign_session(id))
}
