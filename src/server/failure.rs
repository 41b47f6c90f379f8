//! A status of ours in the place of an origin's answer.

use crate::server::exchange::Exchange;
use crate::server::response::ResponseHead;

/// Why no origin answered: a status for the player, a line that tells it what to do, and more for the
/// log.
#[derive(Debug, Clone)]
pub struct Failure {
    pub status: u16,
    pub message: &'static str,
    /// Seconds for `Retry-After`, where trying again may help.
    pub retry_after: Option<u32>,
    pub detail: Option<String>,
}

impl Failure {
    /// Answers the player.
    pub fn answer(self, mut exchange: Exchange) {
        if exchange.record.detail.is_none() {
            exchange.record.detail = self.detail;
        }
        let mut head = ResponseHead::new(self.status);
        if let Some(seconds) = self.retry_after {
            head = head.with("Retry-After", seconds.to_string());
        }
        exchange.problem_with(head, self.message);
    }
}
