//! An origin that counts how often each segment is asked for. Its segments take a moment, as new ones do.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::file_origin::playlist;
use crate::{Result, system};

/// What a segment holds here.
pub const SEGMENT_BYTES: usize = 256 * 1024;

/// Between a segment's first half and its second: the time in which all viewers come.
const PAUSE: Duration = Duration::from_millis(100);

type Counts = Arc<Mutex<HashMap<String, u64>>>;

pub struct CountingOrigin {
    pub address: SocketAddr,
    counts: Counts,
}

impl CountingOrigin {
    /// How often each segment was asked for.
    pub fn segment_requests(&self) -> Vec<u64> {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .copied()
            .collect()
    }
}

/// Starts the origin on a free port. It lasts as long as this process.
pub fn start() -> Result<CountingOrigin> {
    let listener = system::listen().map_err(|error| format!("counting origin: {error}"))?;
    let address = listener
        .local_addr()
        .map_err(|error| format!("counting origin: {error}"))?;
    let counts = Counts::default();
    let shared = Arc::clone(&counts);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let counts = Arc::clone(&shared);
            let _ = thread::Builder::new()
                .stack_size(128 * 1024)
                .spawn(move || serve(&client, &counts));
        }
    });
    Ok(CountingOrigin { address, counts })
}

fn serve(client: &TcpStream, counts: &Counts) -> io::Result<()> {
    client.set_nodelay(true)?;
    let half = vec![0x47; SEGMENT_BYTES / 2];
    let mut reader = BufReader::new(client);
    let mut writer = client;
    while let Some(target) = request_target(&mut reader)? {
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        if path.ends_with(".m3u8") {
            let session = query
                .split('&')
                .find_map(|pair| pair.strip_prefix("hls_ctx="))
                .unwrap_or("none");
            let body = playlist("crowd", session);
            let head = head("application/vnd.apple.mpegurl", body.len());
            writer.write_all(format!("{head}{body}").as_bytes())?;
        } else {
            *counts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(path.to_owned())
                .or_default() += 1;
            writer.write_all(head("video/MP2T", SEGMENT_BYTES).as_bytes())?;
            writer.write_all(&half)?;
            thread::sleep(PAUSE);
            writer.write_all(&half)?;
        }
    }
    Ok(())
}

fn head(media_type: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\nServer: counting-origin\r\n\r\n"
    )
}

/// The target of the next request, once its head is whole; none when the client has left.
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
