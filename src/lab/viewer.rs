//! A live viewer: frames leave when they are due.

use super::clip::Clip;
use super::muxer::Muxer;
use super::position::Position;
use super::stream::LabStream;
use super::timeline::Timeline;
use crate::server::body::ResponseBody;
use std::io::{self, Write};
use std::time::{Duration, Instant, SystemTime};

/// What has come together is written when it reaches this, in bytes: the first burst is a whole GOP.
const PIECE: usize = 32 * 1024;

/// Sends the stream in real time, from the last key frame on, until the viewer leaves. The head is
/// expected to be sent.
///
/// Time is the wall clock's when the viewer came, and runs on steadily from there: a clock that is set
/// neither stops a stream nor makes it hurry, and no pause adds up.
///
/// # Errors
/// What the viewer's socket says; among it that the viewer has taken nothing for too long.
pub fn play(
    mut muxer: impl Muxer,
    clip: &'static Clip<'static>,
    stream: &LabStream,
    out: &mut ResponseBody,
) -> io::Result<()> {
    let cancel = out.cancel().clone();
    let watching = stream.watch();
    let (began, since_epoch) = (Instant::now(), since_epoch());
    let now = || Position::from_unix(since_epoch + began.elapsed());
    let mut frames = Timeline::new(clip).join(now()).peekable();
    let mut bytes = Vec::with_capacity(PIECE);
    while let Some(due) = frames.peek().map(|frame| frame.at) {
        let wait = due.since(now());
        if wait.is_zero() {
            if let Some(frame) = frames.next() {
                muxer.mux(&frame, &mut bytes);
            }
            if bytes.len() < PIECE {
                continue;
            }
        }
        if !bytes.is_empty() {
            out.write_all(&bytes)?;
            stream.sent(bytes.len());
            bytes.clear();
        }
        if cancel.wait(due.since(now())) {
            break;
        }
    }
    drop(watching);
    Ok(())
}

fn since_epoch() -> Duration {
    // A clock that stands before 1970 counts as 1970.
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}
