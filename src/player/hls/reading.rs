//! Reading an origin's answer to a request for a playlist: whole, decoded, and only where it is a playlist.

use crate::http::Headers;
use crate::player::hls::syntax::{is_playlist, split_bom};
use crate::runtime::semaphore::{Permit, Semaphore};
use crate::server::failure::Failure;
use crate::upstream::OriginResponse;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use std::io::{self, Read};
use std::sync::Arc;

/// Largest playlist that an origin may send, in bytes, encoded or not: a day of 2 s segments with dates and tokens is
/// 6 MB.
pub const MAX_PLAYLIST: u64 = 16 << 20;
/// Blank bytes that may stand before `#EXTM3U`.
const MAX_BLANK: usize = 1024;
/// Bytes of a playlist that are not counted: the usual one is far smaller, and workers are.
const SMALL: usize = 256 << 10;
/// What one permit of [`PlaylistMemory`] stands for, in bytes.
const PERMIT: usize = 1 << 20;
/// Memory for large playlists that are read and rewritten at the same time, in permits.
const PERMITS: usize = 192;

/// The memory that large playlists take while they are read and rewritten: bounded over all requests.
#[derive(Debug)]
pub struct PlaylistMemory(Arc<Semaphore>);

impl Default for PlaylistMemory {
    fn default() -> Self {
        Self(Semaphore::new(PERMITS))
    }
}

/// What an origin has answered.
pub enum Answer {
    /// A playlist.
    Playlist(PlaylistAnswer),
    /// Anything else, whose body is still to be read.
    Other(OriginResponse),
}

/// A playlist that was read whole.
pub struct PlaylistAnswer {
    /// The origin's header lines, without those that its encoding made true.
    pub headers: Headers,
    pub body: Vec<u8>,
    /// The playlist was asked for in the place of what came first.
    pub followed: bool,
    /// Counts its memory until it is dropped.
    _memory: Vec<Permit>,
}

/// Reads an answer as far as it takes to know that it is no playlist, and a playlist whole: half of one is a failure. A
/// body in gzip or deflate, which an origin may send when nothing was said of encodings (RFC 9110 section 12.5.3), is
/// decoded. Blocks for the origin.
///
/// # Errors
/// 502 for a playlist that breaks off or is larger than [`MAX_PLAYLIST`], 503 while too many large ones are read.
pub fn read(response: OriginResponse, memory: &PlaylistMemory) -> Result<Answer, Failure> {
    if response.status != 200 {
        return Ok(Answer::Other(response));
    }
    match encoding(&response.headers) {
        Encoding::None => read_plain(response, memory),
        Encoding::Gzip | Encoding::Deflate => read_encoded(response, memory),
        Encoding::Unknown => Ok(Answer::Other(response)),
    }
}

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    None,
    Gzip,
    Deflate,
    Unknown,
}

fn encoding(headers: &Headers) -> Encoding {
    let mut codings = headers.tokens("content-encoding");
    let Some(coding) = codings.next() else {
        return Encoding::None;
    };
    let is = |name: &[u8]| coding.eq_ignore_ascii_case(name);
    match codings.next() {
        Some(_) => Encoding::Unknown,
        None if is(b"identity") => Encoding::None,
        None if is(b"gzip") || is(b"x-gzip") => Encoding::Gzip,
        None if is(b"deflate") => Encoding::Deflate,
        None => Encoding::Unknown,
    }
}

fn read_plain(mut response: OriginResponse, memory: &PlaylistMemory) -> Result<Answer, Failure> {
    let mut start = Vec::new();
    if !begins_a_playlist(&mut response.body, &mut start).map_err(broken)? {
        response.body.unread(start);
        return Ok(Answer::Other(response));
    }
    let OriginResponse {
        headers,
        length,
        body,
        ..
    } = response;
    let (body, memory) = read_all(body.at_once(), start, length, memory)?;
    Ok(Answer::Playlist(PlaylistAnswer {
        headers,
        body,
        followed: false,
        _memory: memory,
    }))
}

/// Reads until it is certain whether the text begins with `#EXTM3U`, a BOM and blank lines before it or not.
fn begins_a_playlist(body: &mut impl Read, start: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 512];
    loop {
        let text = split_bom(start).1.trim_ascii_start();
        let half_bom = start.len() < 3 && "\u{feff}".as_bytes().starts_with(start);
        let certain = !half_bom
            && (text.len() > b"#EXTM3U".len()
                || !b"#EXTM3U".starts_with(text)
                || start.len() > MAX_BLANK);
        if certain {
            return Ok(is_playlist(start));
        }
        match body.read(&mut buffer)? {
            0 => return Ok(is_playlist(start)),
            read => start.extend_from_slice(&buffer[..read]),
        }
    }
}

fn read_encoded(mut response: OriginResponse, memory: &PlaylistMemory) -> Result<Answer, Failure> {
    let encoding = encoding(&response.headers);
    let mut encoded = Vec::new();
    response
        .body
        .by_ref()
        .take(MAX_PLAYLIST + 1)
        .read_to_end(&mut encoded)
        .map_err(broken)?;
    let mut start = Vec::new();
    let is_short = encoded.len() as u64 <= MAX_PLAYLIST;
    let is_playlist = is_short && {
        let mut decoder = decoder(encoding, &encoded);
        begins_a_playlist(&mut decoder, &mut start).unwrap_or(false)
    };
    if !is_playlist {
        response.body.unread(encoded);
        return Ok(Answer::Other(response));
    }
    let (body, memory) = read_all(decoder(encoding, &encoded), Vec::new(), None, memory)?;
    let mut headers = response.headers;
    headers.remove("content-encoding");
    Ok(Answer::Playlist(PlaylistAnswer {
        headers,
        body,
        followed: false,
        _memory: memory,
    }))
}

fn decoder<'a>(encoding: Encoding, body: &'a [u8]) -> Box<dyn Read + 'a> {
    // RFC 9110 section 8.4.1.2 means zlib by deflate; some send it bare.
    let is_zlib = matches!(body, [first, second, ..]
        if first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31));
    match encoding {
        Encoding::Gzip => Box::new(MultiGzDecoder::new(body)),
        _ if is_zlib => Box::new(ZlibDecoder::new(body)),
        _ => Box::new(DeflateDecoder::new(body)),
    }
}

/// Reads the rest of a playlist after its start. `length` is the whole's, where it was announced.
fn read_all(
    mut body: impl Read,
    start: Vec<u8>,
    length: Option<u64>,
    memory: &PlaylistMemory,
) -> Result<(Vec<u8>, Vec<Permit>), Failure> {
    if length.is_some_and(|length| length > MAX_PLAYLIST) {
        return Err(too_large());
    }
    let mut permits = Vec::new();
    let mut bytes = start;
    loop {
        // A part at a time, and for each its memory first.
        let part = bytes.len().clamp(64 << 10, 4 << 20) as u64;
        let read = body.by_ref().take(part).read_to_end(&mut bytes);
        let read = read.map_err(broken)?;
        if bytes.len() as u64 > MAX_PLAYLIST {
            return Err(too_large());
        }
        // Once for the playlist, once for what it is rewritten to.
        let wanted = 2 * bytes.len().saturating_sub(SMALL).div_ceil(PERMIT);
        while permits.len() < wanted {
            permits.push(memory.0.take().ok_or_else(too_many)?);
        }
        if (read as u64) < part {
            return Ok((bytes, permits));
        }
    }
}

fn failure(status: u16, message: &'static str, detail: String) -> Failure {
    Failure {
        status,
        message,
        retry_after: (status == 503).then_some(1),
        detail: Some(detail),
    }
}

fn broken(error: io::Error) -> Failure {
    let message = "The media server sent a broken playlist. Try again.";
    failure(502, message, format!("reading the playlist: {error}"))
}

fn too_large() -> Failure {
    let message = "The media server sent a playlist that is too large.";
    failure(
        502,
        message,
        "the playlist is larger than 16 MiB".to_owned(),
    )
}

fn too_many() -> Failure {
    let message = "Too many large playlists are asked for. Try again in a moment.";
    failure(
        503,
        message,
        "no memory is left for large playlists".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};

    #[test]
    fn a_playlist_is_known_by_its_start_however_it_trickles() {
        struct Trickle<'a>(&'a [u8]);
        impl Read for Trickle<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = 1.min(self.0.len());
                self.0.read(&mut buffer[..length])
            }
        }
        for (body, expected) in [
            ("#EXTM3U\na.ts\n", true),
            ("#EXTM3U", true),
            ("\u{feff}\r\n\n #EXTM3U\r\n", true),
            ("#EXTM3U8\n", false),
            ("#EXT", false),
            ("G@\u{1}", false),
            ("", false),
        ] {
            let mut start = Vec::new();
            let found = begins_a_playlist(&mut Trickle(body.as_bytes()), &mut start).unwrap();
            assert_eq!(found, expected, "{body:?}");
            assert!(body.as_bytes().starts_with(&start));
        }
        let blank = vec![b'\n'; 1 << 20];
        let mut start = Vec::new();
        assert!(!begins_a_playlist(&mut &blank[..], &mut start).unwrap());
        assert!(start.len() < 2 * MAX_BLANK);
    }

    #[test]
    fn each_encoding_is_decoded() {
        let text: &[u8] = b"#EXTM3U\na.ts\n";
        let encode = |mut reader: Box<dyn Read>| {
            let mut encoded = Vec::new();
            reader.read_to_end(&mut encoded).unwrap();
            encoded
        };
        let best = Compression::best();
        for (encoding, encoded) in [
            (Encoding::Gzip, encode(Box::new(GzEncoder::new(text, best)))),
            (
                Encoding::Deflate,
                encode(Box::new(ZlibEncoder::new(text, best))),
            ),
            (
                Encoding::Deflate,
                encode(Box::new(DeflateEncoder::new(text, best))),
            ),
        ] {
            let mut decoded = Vec::new();
            decoder(encoding, &encoded)
                .read_to_end(&mut decoded)
                .unwrap();
            assert_eq!(decoded, text);
        }
    }

    #[test]
    fn memory_is_bounded_over_all() {
        let memory = PlaylistMemory::default();
        let large = vec![b'x'; 15 << 20];
        let read = || read_all(&large[..], Vec::new(), None, &memory);
        let held: Vec<_> = std::iter::from_fn(|| read().ok()).take(100).collect();
        assert_eq!(held.len(), PERMITS / 30);
        assert_eq!(read().unwrap_err().status, 503);
        assert!(read_all(&large[..SMALL], Vec::new(), None, &memory).is_ok());
        drop(held);
        assert!(read().is_ok());
        let bomb = io::repeat(b'x').take(1 << 40);
        assert_eq!(
            read_all(bomb, Vec::new(), None, &memory)
                .unwrap_err()
                .status,
            502
        );
    }
}
