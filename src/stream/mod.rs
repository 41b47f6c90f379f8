//! Streams: what a request asks for, asking origins for it, and what goes back to the player.
//!
//! [`url`] names a stream the way SRS does, [`session`] turns that name into the `spbhid` of an HLS
//! session and back, [`playlist`] puts the `spbhid` on every URI that comes back to this proxy, and
//! [`query`] reads and trims query strings without touching the parameters of others.

pub mod ask;
pub mod forward;
pub mod hls;
pub mod live;
pub mod playlist;
pub mod query;
pub mod relay;
pub mod session;
pub mod share;
pub mod site;
pub mod url;
pub mod viewers;

use crate::http::exchange::{Exchange, ResponseHead};

/// Sends an answer that was put aside while others were asked.
fn kept(exchange: Exchange, answer: ask::Kept) {
    let fields = forward::to_player(&answer.fields);
    let head = ResponseHead {
        status: answer.status,
        fields,
        length: answer.length,
    };
    if !exchange.is_head() {
        exchange.answer(head, &answer.body);
    } else if let Ok(out) = exchange.start(&head) {
        // An error is the client's leaving, which is in the record.
        let _ = out.finish();
    }
}
