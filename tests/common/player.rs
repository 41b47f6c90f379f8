//! A real player: ffmpeg, which decodes as fast as it gets something and says how far it is.

use super::process::Process;
use super::tools;
use super::wait::wait_until;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often ffmpeg's progress is read: it tells of it five times a second.
const LOOK: Duration = Duration::from_millis(20);

/// A player that connects again whenever its connection ends. Dropped, it is killed.
///
/// ffmpeg reconnects by itself, and HLS does by its nature. Only FLV is different: a new connection gives a
/// new file, which ffmpeg takes for a broken tag of the old one. So for FLV the player itself begins anew,
/// as players in web pages do.
pub struct Player {
    url: String,
    frames: Arc<AtomicU64>,
    running: Arc<Mutex<Option<Process>>>,
}

impl Player {
    /// Plays a URL.
    #[track_caller]
    pub fn start(url: &str) -> Player {
        let player = Player {
            url: url.to_owned(),
            frames: Arc::default(),
            running: Arc::new(Mutex::new(Some(ffmpeg(url)))),
        };
        let (url, frames) = (player.url.clone(), player.frames.clone());
        let running = player.running.clone();
        std::thread::spawn(move || {
            let mut before = 0;
            loop {
                if let Some(process) = lock(&running).as_mut() {
                    let ended = process.try_exit().is_some();
                    let all = before + decoded(process);
                    frames.store(all, Ordering::Relaxed);
                    if ended && !url.ends_with(".flv") {
                        return; // nobody began it anew: the test sees that no frame comes
                    }
                    if ended {
                        before = all;
                        *process = ffmpeg(&url);
                    }
                } else {
                    return; // the player was dropped
                }
                std::thread::sleep(LOOK);
            }
        });
        player
    }

    /// Frames of the picture that it has decoded so far.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Waits until it has decoded so many frames in all.
    ///
    /// # Panics
    /// When it has not in time.
    #[track_caller]
    pub fn wait_for_frames(&self, count: u64, deadline: Duration) {
        let what = format!("{} was decoded up to frame {count}", self.url);
        wait_until(&what, deadline, || self.frames() >= count);
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        drop(lock(&self.running).take());
    }
}

fn lock(running: &Mutex<Option<Process>>) -> MutexGuard<'_, Option<Process>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ffmpeg(url: &str) -> Process {
    let mut command = tools::command("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-stats_period", "0.2"]);
    command.args(["-progress", "pipe:1"]);
    if url.ends_with(".ts") {
        for on in ["", "_at_eof", "_streamed", "_on_network_error"] {
            command.arg(format!("-reconnect{on}")).arg("1");
        }
        command.args(["-reconnect_on_http_error", "5xx,404"]);
        command.args(["-reconnect_delay_max", "2"]);
    }
    command.args(["-i", url, "-map", "0:v", "-f", "null", "-"]);
    Process::start("ffmpeg, the player", &mut command)
}

/// How many frames ffmpeg says that it has decoded.
fn decoded(process: &Process) -> u64 {
    let lines = process.stdout_lines();
    let count = |line: &String| line.strip_prefix("frame=")?.trim().parse().ok();
    lines.iter().rev().find_map(count).unwrap_or(0)
}
