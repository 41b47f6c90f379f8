//! A request's body in chunks (RFC 9112 section 7.1), taken as it comes.

use crate::http::head::Rejection;

/// Longest line of a chunk's size or of a trailer, in bytes: extensions and trailers are read over.
const MAX_LINE: usize = 1024;
/// Most lines of trailers.
const MAX_TRAILERS: usize = 32;

const BAD_CHUNK: Rejection = Rejection {
    status: 400,
    message: "The request's body has a bad chunk.",
};
const TOO_LARGE: Rejection = Rejection {
    status: 413,
    message: "The body is larger than 64 KiB.",
};

/// Puts the chunks of one body together.
#[derive(Debug)]
pub struct ChunkedBody {
    body: Vec<u8>,
    /// Most bytes of body.
    max: usize,
    line: Vec<u8>,
    trailers: usize,
    next: Next,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Size,
    /// So many bytes of a chunk.
    Data(usize),
    EndOfData,
    Trailer,
    Nothing,
}

impl ChunkedBody {
    /// A body of at most `max` bytes, of which nothing has come.
    pub fn new(max: usize) -> Self {
        Self {
            body: Vec::new(),
            max,
            line: Vec::new(),
            trailers: 0,
            next: Next::Size,
        }
    }

    /// Takes the next bytes. Gives how many of them belong to the body: all, until its end is among them.
    ///
    /// # Errors
    /// 400 for framing that is not right, 413 for a body that is too large.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Rejection> {
        let mut at = 0;
        while at < bytes.len() && self.next != Next::Nothing {
            let rest = &bytes[at..];
            if let Next::Data(left) = self.next {
                let some = left.min(rest.len());
                self.body.extend_from_slice(&rest[..some]);
                at += some;
                self.next = match left - some {
                    0 => Next::EndOfData,
                    left => Next::Data(left),
                };
                continue;
            }
            let end = rest.iter().position(|byte| *byte == b'\n');
            let some = end.map_or(rest.len(), |end| end + 1);
            if self.line.len() + some > MAX_LINE {
                return Err(BAD_CHUNK);
            }
            self.line.extend_from_slice(&rest[..some]);
            at += some;
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                self.take_line(&line)?;
            }
        }
        Ok(at)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), Rejection> {
        if !line.ends_with(b"\r\n") {
            return Err(BAD_CHUNK); // some read a bare newline otherwise: what follows would be a second request
        }
        self.next = match self.next {
            Next::Size => match httparse::parse_chunk_size(line) {
                Ok(httparse::Status::Complete((_, 0))) => Next::Trailer,
                Ok(httparse::Status::Complete((_, size))) => {
                    let size = usize::try_from(size).unwrap_or(usize::MAX);
                    if size > self.max.saturating_sub(self.body.len()) {
                        return Err(TOO_LARGE);
                    }
                    Next::Data(size)
                }
                _ => return Err(BAD_CHUNK),
            },
            Next::EndOfData if line == b"\r\n" => Next::Size,
            Next::Trailer if line == b"\r\n" => Next::Nothing,
            Next::Trailer if self.trailers < MAX_TRAILERS => {
                self.trailers += 1;
                Next::Trailer
            }
            _ => return Err(BAD_CHUNK),
        };
        Ok(())
    }

    /// The body, where it is whole.
    pub fn whole(self) -> Result<Vec<u8>, Self> {
        match self.next {
            Next::Nothing => Ok(self.body),
            _ => Err(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8], step: usize) -> Result<(Vec<u8>, usize), u16> {
        let mut body = ChunkedBody::new(100);
        let mut used = 0;
        for piece in bytes.chunks(step.max(1)) {
            used += body.take(piece).map_err(|rejection| rejection.status)?;
        }
        body.whole().map(|body| (body, used)).map_err(|_| 0)
    }

    #[test]
    fn bodies_are_put_together_and_what_follows_is_left() {
        for (text, body, rest) in [
            ("0\r\n\r\n", "", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello", ""),
            (
                "5;a=b\r\nhello\r\n1 \r\n!\r\n0\r\nX: y\r\n\r\nGET /",
                "hello!",
                "GET /",
            ),
            (
                "A\r\n\r\n0\r\n\r\n123\r\n00\r\n\r\n",
                "\r\n0\r\n\r\n123",
                "",
            ),
        ] {
            for step in 1..=text.len() {
                let used = text.len() - rest.len();
                assert_eq!(
                    read(text.as_bytes(), step),
                    Ok((body.into(), used)),
                    "{text:?} {step}"
                );
            }
        }
    }

    #[test]
    fn what_is_doubtful_is_refused() {
        for (text, status) in [
            ("x\r\n", 400),
            ("-1\r\n", 400),
            ("5\nhello\r\n", 400),
            ("5\r\nhello0\r\n\r\n", 400),
            ("5\r\nhello\n0\r\n\r\n", 400),
            ("0\r\n\n", 400),
            ("ffffffffffffffffff\r\n", 400),
            ("65\r\n", 413),
            ("64\r\n", 0),
            ("5\r\nhel", 0),
            ("0\r\n", 0),
        ] {
            for step in 1..=text.len() {
                assert_eq!(read(text.as_bytes(), step), Err(status), "{text:?} {step}");
            }
        }
        let long = format!("1;{}\r\n", "x".repeat(MAX_LINE));
        assert_eq!(read(long.as_bytes(), 100), Err(400));
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(MAX_TRAILERS + 1));
        assert_eq!(read(trailers.as_bytes(), 100), Err(400));
        let many = "32\r\n".to_owned() + &"x".repeat(50) + "\r\n33\r\n";
        assert_eq!(
            read(many.as_bytes(), 7),
            Err(413),
            "all chunks together count"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_the_same_in_any_pieces(bytes in proptest::collection::vec(prop_oneof![Just(b'0'), Just(b'2'), Just(b'\r'), Just(b'\n'), Just(b';'), any::<u8>()], 0..60), step in 1_usize..20) {
            prop_assert_eq!(read(&bytes, step), read(&bytes, bytes.len()));
        }
    }
}
