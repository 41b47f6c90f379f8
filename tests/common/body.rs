//! Reading a body piece by piece, strictly, and saying how it ended.

use super::head::Headers;

/// How a body ended, as its receiver can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// Its framing says that it is whole: the last chunk, all of the length, or for a close-delimited body a FIN.
    Complete,
    /// A FIN before the framing was satisfied.
    Truncated,
    /// The connection was reset.
    Reset,
}

/// How a body is framed, with what is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes are left.
    Length(u64),
    Chunked(Chunk),
    UntilClose,
}

/// Where in a chunked body the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    Size,
    Data(usize),
    AfterData,
    AfterLast,
    Done,
}

impl Framing {
    /// The framing that a response's head announces (RFC 9112 section 6.3).
    ///
    /// # Panics
    /// When the head contradicts itself: two lengths, a length beside chunks, an unknown coding, chunks for HTTP/1.0.
    #[track_caller]
    pub fn of_response(method: &str, version: &str, status: u16, headers: &Headers) -> Framing {
        let length = headers.maybe("content-length");
        let coding = headers.maybe("transfer-encoding");
        assert!(
            length.is_none() || coding.is_none(),
            "both a length and a coding: {headers:?}"
        );
        if let Some(coding) = coding {
            assert_eq!(
                coding.to_ascii_lowercase(),
                "chunked",
                "an unknown transfer coding"
            );
            assert_eq!(
                version, "HTTP/1.1",
                "chunks in a response that is not HTTP/1.1"
            );
        }
        if method == "HEAD" || status == 204 || status == 304 || status < 200 {
            return Framing::None;
        }
        match (length, coding) {
            (Some(n), _) => {
                Framing::Length(n.parse().unwrap_or_else(|_| panic!("bad length {n:?}")))
            }
            (None, Some(_)) => Framing::Chunked(Chunk::Size),
            (None, None) => Framing::UntilClose,
        }
    }

    /// Whether the body is whole already.
    pub fn is_done(self) -> bool {
        matches!(
            self,
            Framing::None | Framing::Length(0) | Framing::Chunked(Chunk::Done)
        )
    }

    /// Takes what it can of `buffer` and gives the body bytes in it; nothing when more must be read first.
    ///
    /// # Panics
    /// At broken chunks: a size that is not plain hexadecimal, data without its line end, trailers.
    pub fn take(&mut self, buffer: &mut Vec<u8>) -> Vec<u8> {
        match self {
            Framing::None => Vec::new(),
            Framing::UntilClose => std::mem::take(buffer),
            Framing::Length(left) => {
                let n = buffer
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= n as u64;
                buffer.drain(..n).collect()
            }
            Framing::Chunked(chunk) => take_chunks(chunk, buffer),
        }
    }

    /// What the end of the connection makes of this body.
    pub fn at_eof(self) -> BodyEnd {
        if self.is_done() || self == Framing::UntilClose {
            BodyEnd::Complete
        } else {
            BodyEnd::Truncated
        }
    }
}

fn take_chunks(chunk: &mut Chunk, buffer: &mut Vec<u8>) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        match *chunk {
            Chunk::Size => {
                let Some(line) = take_line(buffer) else {
                    return body;
                };
                let good =
                    !line.is_empty() && line.len() <= 16 && line.iter().all(u8::is_ascii_hexdigit);
                let line = String::from_utf8_lossy(&line).into_owned();
                assert!(good, "bad chunk size line {line:?}");
                let size = usize::from_str_radix(&line, 16).expect("hexadecimal digits");
                *chunk = if size == 0 {
                    Chunk::AfterLast
                } else {
                    Chunk::Data(size)
                };
            }
            Chunk::Data(left) => {
                let n = buffer.len().min(left);
                if n == 0 {
                    return body;
                }
                body.extend(buffer.drain(..n));
                *chunk = if n == left {
                    Chunk::AfterData
                } else {
                    Chunk::Data(left - n)
                };
            }
            Chunk::AfterData => {
                let Some(line) = take_line(buffer) else {
                    return body;
                };
                assert!(
                    line.is_empty(),
                    "more data than the chunk announced: {line:?}"
                );
                *chunk = Chunk::Size;
            }
            Chunk::AfterLast => {
                let Some(line) = take_line(buffer) else {
                    return body;
                };
                assert!(
                    line.is_empty(),
                    "a trailer: {:?}",
                    String::from_utf8_lossy(&line)
                );
                *chunk = Chunk::Done;
            }
            Chunk::Done => return body,
        }
    }
}

/// A line without its CRLF; `None` when it is not whole yet.
fn take_line(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let Some(at) = buffer.iter().position(|b| *b == b'\n') else {
        assert!(buffer.len() < 4096, "an endless line in the chunks");
        return None;
    };
    let mut line: Vec<u8> = buffer.drain(..=at).collect();
    line.pop();
    assert_eq!(
        line.pop(),
        Some(b'\r'),
        "a line of the chunks that does not end in CRLF"
    );
    Some(line)
}
