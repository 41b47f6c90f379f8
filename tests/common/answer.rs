//! What a scripted origin answers.

use super::live::LiveRoute;
use std::time::Duration;

/// What happens to the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It waits for the next request.
    Keep,
    /// It is closed, without the response having said so.
    Close,
    /// It is reset.
    Reset,
}

/// How a response's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`, of the body or, for a live body, of so many bytes.
    Length(u64),
    Chunked,
    /// Neither: the body ends with the connection.
    UntilClose,
}

/// An answer of a scripted origin.
#[derive(Clone)]
pub enum Answer {
    Reply(Reply),
    /// Bytes as they are, be they a response or not.
    Raw(Vec<u8>, Then),
    /// The connection is closed without a head, as SRS does with a player that a hook refuses.
    CloseWithoutHead,
    /// The same by reset.
    ResetWithoutHead,
    /// Nothing, until the peer closes.
    Silence,
    /// The test writes the body itself, see [`super::live`].
    Live(LiveRoute),
}

/// A response that is written at once.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) framing: Framing,
    pub(super) delay: Duration,
    pub(super) then: Then,
    pub(super) body_on_head: bool,
}

impl Reply {
    /// A response without a body.
    pub fn new(status: u16) -> Reply {
        Reply {
            status,
            reason: reason(status).to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            framing: Framing::Length(0),
            delay: Duration::ZERO,
            then: Then::Keep,
            body_on_head: false,
        }
    }

    /// A 200 with a body of a type, and its length.
    pub fn ok(content_type: &str, body: impl AsRef<[u8]>) -> Reply {
        Reply::new(200)
            .header("Content-Type", content_type)
            .body(body)
    }

    /// A 200 with a playlist, as SRS sends it.
    pub fn playlist(body: impl AsRef<[u8]>) -> Reply {
        Reply::ok("application/vnd.apple.mpegurl", body)
    }

    /// Another reason phrase.
    pub fn reason(mut self, reason: &str) -> Reply {
        reason.clone_into(&mut self.reason);
        self
    }

    /// One more header line.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The body, framed by its length.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Reply {
        self.body = body.as_ref().to_vec();
        self.framing = Framing::Length(self.body.len() as u64);
        self
    }

    /// The body goes out in chunks, of at most 1000 bytes each.
    pub fn chunked(mut self) -> Reply {
        self.framing = Framing::Chunked;
        self
    }

    /// The body ends with the connection.
    pub fn until_close(mut self) -> Reply {
        self.framing = Framing::UntilClose;
        self.then = Then::Close;
        self
    }

    /// Announces a length that is not the body's.
    pub fn announce(mut self, length: u64) -> Reply {
        self.framing = Framing::Length(length);
        self
    }

    /// Waits before the head.
    pub fn after(mut self, delay: Duration) -> Reply {
        self.delay = delay;
        self
    }

    /// What happens to the connection then.
    pub fn then(mut self, then: Then) -> Reply {
        self.then = then;
        self
    }

    /// Sends the body to HEAD too, as SRS does.
    pub fn body_on_head(mut self) -> Reply {
        self.body_on_head = true;
        self
    }

    /// The head's bytes, with `more` headers first.
    pub(super) fn head(&self, more: &[(&str, &str)]) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} {}\r\n", self.status, self.reason);
        for (name, value) in more {
            text += &format!("{name}: {value}\r\n");
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        match self.framing {
            // These have no body, and a length would say something else (RFC 9110 section 8.6).
            Framing::Length(0) if matches!(self.status, 100..200 | 204 | 304) => {}
            Framing::Length(n) => text += &format!("Content-Length: {n}\r\n"),
            Framing::Chunked => text += "Transfer-Encoding: chunked\r\n",
            Framing::UntilClose => {}
        }
        text += "\r\n";
        text.into_bytes()
    }

    /// The body's bytes as they go over the wire.
    pub(super) fn framed_body(&self) -> Vec<u8> {
        if self.framing != Framing::Chunked {
            return self.body.clone();
        }
        let mut bytes: Vec<u8> = self.body.chunks(1000).flat_map(chunk).collect();
        bytes.extend(b"0\r\n\r\n");
        bytes
    }
}

/// One chunk of a chunked body.
pub(super) fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend(b"\r\n");
    chunk
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Answer {
        Answer::Reply(reply)
    }
}

impl From<&LiveRoute> for Answer {
    fn from(route: &LiveRoute) -> Answer {
        Answer::Live(route.clone())
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        302 => "Found",
        304 => "Not Modified",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
