//! A real player: ffmpeg, which decodes as fast as it gets something and says how far it is.

use super::tools;
use super::wait::wait_until;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A player that connects again whenever its connection ends. Dropped, it is killed.
///
/// ffmpeg reconnects by itself, and HLS does by its nature. Only FLV is different: a new connection gives a
/// new file, which ffmpeg takes for a broken tag of the old one. So for FLV the player itself begins anew,
/// as players in web pages do.
pub struct Player {
    url: String,
    frames: Arc<AtomicU64>,
    running: Arc<Mutex<Option<Child>>>,
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
            loop {
                let stdout = match lock(&running).as_mut() {
                    Some(child) => child.stdout.take().expect("its stdout"),
                    None => return,
                };
                count(stdout, &frames);
                // Its output has ended, so it has. Without a child the player was dropped.
                let mut running = lock(&running);
                let Some(child) = running.as_mut() else {
                    return;
                };
                child.wait().expect("waiting for ffmpeg");
                if !url.ends_with(".flv") {
                    return; // nobody began it anew: the test sees that no frame comes
                }
                *child = ffmpeg(&url);
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
        if let Some(mut child) = lock(&self.running).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn lock(running: &Mutex<Option<Child>>) -> MutexGuard<'_, Option<Child>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ffmpeg(url: &str) -> Child {
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
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("starting ffmpeg")
}

/// Adds what ffmpeg says of its progress, until it has ended.
fn count(stdout: ChildStdout, frames: &AtomicU64) {
    let before = frames.load(Ordering::Relaxed);
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let count = line.strip_prefix("frame=").map(str::trim);
        if let Some(count) = count.and_then(|count| count.parse::<u64>().ok()) {
            frames.store(before + count, Ordering::Relaxed);
        }
    }
}
