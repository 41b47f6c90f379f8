//! A live HLS origin as SRS is one, whose playlist slides in real time, and which counts what it is asked for.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::clock::{self, nanos};
use crate::file_origin::media_playlist;
use crate::numbered_segment::{SEGMENT_BYTES, segment};
use crate::{Result, system};

/// The only stream that the origin has.
pub const STREAM: &str = "crowd";
/// How long a segment lasts.
pub const SEGMENT_TIME: Duration = Duration::from_secs(2);
/// Segments in a playlist.
const LISTED: u64 = 3;
/// Segments that the origin still has, those of the playlist included.
const KEPT: u64 = 10;
/// Between a segment's first half and its second: what its way takes from an origin that is not on this machine. A
/// hundredth of the viewers ask in this time.
const PAUSE: Duration = Duration::from_millis(20);

struct Shared {
    began: u64,
    playlists: AtomicU64,
    /// How often each segment was asked for, by its number.
    segments: Mutex<HashMap<u64, u64>>,
}

pub struct HlsOrigin {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl HlsOrigin {
    /// Starts the origin on a free port. It lasts as long as this process.
    pub fn start() -> Result<HlsOrigin> {
        let failed = |error: io::Error| format!("HLS origin: {error}");
        let listener = system::listen().map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            began: clock::now(),
            playlists: AtomicU64::new(0),
            segments: Mutex::default(),
        });
        let of_threads = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&of_threads);
                let _ = thread::Builder::new()
                    .stack_size(128 * 1024)
                    .spawn(move || shared.serve(&client));
            }
        });
        Ok(HlsOrigin { address, shared })
    }

    /// The number of the newest segment now.
    pub fn newest(&self) -> u64 {
        self.shared.newest()
    }

    /// How often playlists were asked for.
    pub fn playlist_requests(&self) -> u64 {
        self.shared.playlists.load(Relaxed)
    }

    /// How often each segment was asked for that anybody wanted.
    pub fn segment_requests(&self) -> Vec<u64> {
        let segments = self.shared.segments.lock();
        let segments = segments.unwrap_or_else(PoisonError::into_inner);
        segments.values().copied().collect()
    }
}

impl Shared {
    fn newest(&self) -> u64 {
        KEPT + clock::now().saturating_sub(self.began) / nanos(SEGMENT_TIME)
    }

    /// The numbers of that many segments up to the newest.
    fn last(&self, count: u64) -> Range<u64> {
        let end = self.newest() + 1;
        end - count..end
    }

    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut reader = BufReader::new(client);
        let mut writer = client;
        while let Some(target) = request_target(&mut reader)? {
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let file = path.strip_prefix("/live/").unwrap_or_default();
            let number = file.strip_prefix(STREAM).and_then(|rest| {
                let number = rest.strip_prefix('-')?.strip_suffix(".ts")?;
                number.parse::<u64>().ok()
            });
            if path.ends_with(".m3u8") {
                self.playlists.fetch_add(1, Relaxed);
                let session = query
                    .split('&')
                    .find_map(|pair| pair.strip_prefix("hls_ctx="))
                    .unwrap_or("none");
                let body = media_playlist(STREAM, session, self.last(LISTED));
                let head = head("200 OK", "application/vnd.apple.mpegurl", body.len());
                writer.write_all(format!("{head}{body}").as_bytes())?;
            } else if let Some(number) = number.filter(|number| self.last(KEPT).contains(number)) {
                let segments = self.segments.lock();
                let mut segments = segments.unwrap_or_else(PoisonError::into_inner);
                *segments.entry(number).or_default() += 1;
                drop(segments);
                let segment = segment(number);
                let (first, second) = segment.split_at(SEGMENT_BYTES / 2);
                writer.write_all(head("200 OK", "video/MP2T", SEGMENT_BYTES).as_bytes())?;
                writer.write_all(first)?;
                thread::sleep(PAUSE);
                writer.write_all(second)?;
            } else {
                writer.write_all(head("404 Not Found", "text/plain", 0).as_bytes())?;
            }
        }
        Ok(())
    }
}

fn head(status: &str, media_type: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\nServer: hls-origin\r\n\r\n"
    )
}

/// The target of the next request, once its head is whole; `None` when the client has left.
fn request_target(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let Some(target) = first.split_ascii_whitespace().nth(1) else {
        return Ok(None);
    };
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    Ok(Some(target.to_owned()))
}
