//! Viewers of one HLS stream who ask for each new segment at the same moment, every one with a session of its own.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::Result;
use crate::children;
use crate::counting_origin::SEGMENT_BYTES;
use crate::file_origin::SEGMENTS;
use crate::proxies::client;

/// What a crowd has seen.
pub struct Watched {
    /// Segments that each viewer asked for.
    pub segments: usize,
    pub failures: u64,
    /// The slowest segment for any viewer, from the request to the last byte, in milliseconds.
    pub slowest_ms: f64,
}

/// Lets `viewers` watch one stream for as many segments as its playlist has.
pub fn watch(address: SocketAddr, viewers: usize) -> Result<Watched> {
    let barrier = Barrier::new(viewers);
    let failures = AtomicU64::new(0);
    let slowest_us = AtomicU64::new(0);
    let viewer = |index: usize| {
        let client = client();
        let get = |path: &str| -> Option<Vec<u8>> {
            let mut answer = client.get(format!("http://{address}{path}")).call().ok()?;
            if answer.status() == 200 {
                answer.body_mut().read_to_vec().ok()
            } else {
                None
            }
        };
        let playlist = get(&format!("/live/crowd.m3u8?hls_ctx=c{index}")).unwrap_or_default();
        let playlist = String::from_utf8_lossy(&playlist).into_owned();
        let mut segments = playlist.lines().filter(|line| !line.starts_with('#'));
        for _ in 0..SEGMENTS {
            // Everyone waits each time, those without a playlist too: the barrier counts heads.
            barrier.wait();
            let asked = Instant::now();
            let length = segments
                .next()
                .and_then(|uri| get(&format!("/live/{uri}")))
                .map(|bytes| bytes.len());
            let micros = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
            slowest_us.fetch_max(micros, Ordering::Relaxed);
            if length != Some(SEGMENT_BYTES) {
                failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for index in 0..viewers {
            let spawned = thread::Builder::new()
                .stack_size(256 * 1024)
                .spawn_scoped(scope, move || viewer(index));
            if let Err(error) = spawned {
                // Those who wait at the barrier would wait for ever.
                eprintln!("starting viewer {index} of {viewers}: {error}");
                children::end_all(1);
            }
        }
    });
    Ok(Watched {
        segments: SEGMENTS,
        failures: failures.load(Ordering::Relaxed),
        slowest_ms: slowest_us.load(Ordering::Relaxed) as f64 / 1000.0,
    })
}
