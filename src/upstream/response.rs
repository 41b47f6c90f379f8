//! An origin's response, in plain types.

use crate::http::Headers;
use crate::upstream::connection;
use std::io::{self, Read};
use std::time::{Duration, Instant};
use ureq::http::Response;
use ureq::http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use ureq::{Body, BodyReader};

/// A response's head, and the way to its body.
pub struct OriginResponse {
    pub status: u16,
    /// All header lines, hop-by-hop ones too; names are spelt in the usual way.
    pub headers: Headers,
    /// The body's announced length in bytes; `None` where it is chunked or ends with the connection.
    pub length: Option<u64>,
    pub body: OriginBody,
}

/// Reads a body. An end that the origin did not mean is an error, never 0.
pub struct OriginBody {
    /// What was read already, to be read again.
    again: Option<Box<io::Cursor<Vec<u8>>>>,
    reader: BodyReader<'static>,
    stall: Duration,
    /// When it must be whole.
    end: Option<Instant>,
}

impl OriginBody {
    /// Puts bytes that were read back before what is still to be read.
    pub fn unread(&mut self, mut bytes: Vec<u8>) {
        if let Some(mut later) = self.again.take() {
            // There is no error: it is memory.
            let _ = later.read_to_end(&mut bytes);
        }
        self.again = Some(Box::new(io::Cursor::new(bytes)));
    }

    /// The same for a body that is not to be relayed but read at once: it must be whole within the
    /// stall timeout (checked after each read), however it trickles.
    pub fn at_once(mut self) -> Self {
        self.end = Some(Instant::now() + self.stall);
        self
    }
}

#[cfg(test)]
impl OriginBody {
    /// A body that has come as a whole, without an origin.
    pub fn whole(bytes: &[u8]) -> Self {
        Self {
            again: None,
            reader: ureq::Body::builder().data(bytes).into_reader(),
            stall: Duration::from_secs(60),
            end: None,
        }
    }
}

impl Read for OriginBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(again) = &mut self.again {
            let read = again.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.again = None;
        }
        connection::begin_read();
        let got = self.reader.read(buffer)?;
        if got > 0 && self.end.is_some_and(|end| Instant::now() > end) {
            let why = "the origin sends the body too slowly";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Ok(got)
    }
}

impl OriginResponse {
    /// Takes ureq's response.
    ///
    /// # Errors
    /// What makes the framing of its body doubtful (RFC 9112 section 6.3).
    pub(super) fn of(response: Response<Body>, stall: Duration) -> Result<Self, String> {
        let (parts, body) = response.into_parts();
        if parts.status.as_u16() == 101 {
            return Err("it switches protocols, which nobody asked for".to_owned());
        }
        // RFC 9112 section 6.1: its framing is faulty. It would be read to its end, the chunk sizes among the media.
        if parts.version == ureq::http::Version::HTTP_10
            && parts.headers.contains_key(TRANSFER_ENCODING)
        {
            return Err("it is HTTP/1.0 and has a Transfer-Encoding".to_owned());
        }
        let length = length(&parts.headers)?;
        let mut headers = Headers::default();
        for (name, value) in &parts.headers {
            headers.push(&usual_spelling(name.as_str()), value.as_bytes());
        }
        let status = parts.status.as_u16();
        let body = OriginBody {
            again: None,
            reader: body.into_reader(),
            stall,
            end: None,
        };
        Ok(Self {
            status,
            headers,
            length,
            // An error's body is put aside while others are asked: nobody watches it trickle.
            body: if status >= 400 { body.at_once() } else { body },
        })
    }
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, String> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(_), _) if headers.contains_key(CONTENT_LENGTH) => {
            return Err("it has both a Transfer-Encoding and a Content-Length".to_owned());
        }
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            return Ok(None);
        }
        _ => return Err("its transfer coding is not known".to_owned()),
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(None),
        (Some(length), None) => {
            let text = length.to_str().unwrap_or_default();
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            match text.parse() {
                Ok(length) if digits => Ok(Some(length)),
                _ => Err("its Content-Length is no number".to_owned()),
            }
        }
        _ => Err("it has more than one Content-Length".to_owned()),
    }
}

/// `content-type` as `Content-Type`: names come to us in lower case. They mean the same, but people
/// read them.
fn usual_spelling(name: &str) -> String {
    match name {
        "etag" => return "ETag".to_owned(),
        "www-authenticate" => return "WWW-Authenticate".to_owned(),
        _ => {}
    }
    let mut start = true;
    let spell = |letter: char| {
        let spelt = if start {
            letter.to_ascii_uppercase()
        } else {
            letter
        };
        start = letter == '-';
        spelt
    };
    name.chars().map(spell).collect()
}

#[cfg(test)]
mod tests {
    use crate::upstream::response::usual_spelling;

    #[test]
    fn names_are_spelt_as_people_do() {
        for (name, usual) in [
            ("content-type", "Content-Type"),
            ("etag", "ETag"),
            ("x-srs-id", "X-Srs-Id"),
            ("age", "Age"),
        ] {
            assert_eq!(usual_spelling(name), usual);
        }
    }
}
