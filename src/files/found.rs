//! A file that was found, and the response that it makes: conditions, ranges, type.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Cursor, Read, Take};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use crate::files::conditions::{FileRequest, Outcome};

/// What a path leads to.
#[derive(Debug)]
pub enum FileLookup {
    /// A file, open.
    File(FoundFile),
    /// A directory that was asked for without its slash: go to this path, which has the query too.
    Redirect(String),
    /// Nothing that may be served.
    Missing,
}

/// A file with what is needed to decide on its response.
#[derive(Debug)]
pub struct FoundFile {
    pub(super) content: Content,
    /// In bytes.
    pub(super) length: u64,
    pub(super) mime: Cow<'static, str>,
    pub(super) modified: SystemTime,
    /// Strong (RFC 9110 section 8.8.3), with its quotes.
    pub(super) etag: String,
    /// The file's bytes gzipped, where they were prepared.
    pub(super) gzipped: Option<&'static [u8]>,
}

/// The bytes of a file, before a part of them is chosen.
#[derive(Debug)]
pub enum Content {
    Memory(Cow<'static, [u8]>),
    Disk(File),
}

/// A response without what every response has.
#[derive(Debug)]
pub struct FileAnswer {
    /// 200, 206, 301, 304, 404 or 416. The last two come without a text: the caller says it.
    pub status: u16,
    /// All but `Content-Length` and what is the same in every response.
    pub headers: Vec<(&'static str, String)>,
    /// The `Content-Length` in bytes; that of GET for HEAD. `None` where there is none to be sent (304).
    pub length: Option<u64>,
    /// What to send; empty for HEAD.
    pub body: FileBody,
}

/// The bytes of a response, to be read once. A file that has become shorter meanwhile ends before the
/// announced length, and the connection has to be broken off; what was added is not sent.
#[derive(Debug)]
pub enum FileBody {
    /// No bytes.
    Empty,
    /// A part of an embedded file.
    Memory(Take<Cursor<Cow<'static, [u8]>>>),
    /// A part of a file on disk.
    Disk(File, Range<u64>),
}

impl FoundFile {
    /// Decides on the status by the request's conditions (RFC 9110 section 13.2.2) and its range.
    pub fn respond(mut self, request: &FileRequest<'_>) -> FileAnswer {
        let varies = self.gzipped.is_some();
        let is_gzipped = request.accepts_gzip && request.range.is_none() && self.choose_gzipped();
        let outcome = request.evaluate(&self.etag, self.modified, self.length);
        let mut headers = vec![
            ("Last-Modified", httpdate::fmt_http_date(self.modified)),
            ("ETag", self.etag),
        ];
        if varies {
            headers.push(("Vary", "Accept-Encoding".to_owned()));
        }
        if is_gzipped {
            headers.push(("Content-Encoding", "gzip".to_owned()));
        }
        if self.mime.starts_with("text/html") {
            // An age of its own guess (RFC 9111 section 4.2.2) would keep a browser on the page of
            // before an upgrade, with the scripts of after it.
            headers.push(("Cache-Control", "no-cache".to_owned()));
        }
        let (status, part) = match outcome {
            Outcome::NotModified => {
                return FileAnswer {
                    headers,
                    length: None,
                    ..FileAnswer::empty(304)
                };
            }
            Outcome::Unsatisfiable => {
                let headers = vec![
                    ("Accept-Ranges", "bytes".to_owned()),
                    ("Content-Range", format!("bytes */{}", self.length)),
                ];
                return FileAnswer {
                    headers,
                    ..FileAnswer::empty(416)
                };
            }
            Outcome::Whole => (200, 0..self.length),
            Outcome::Part(part) => {
                let last = part.end - 1;
                let range = format!("bytes {}-{last}/{}", part.start, self.length);
                headers.push(("Content-Range", range));
                (206, part)
            }
        };
        headers.push(("Accept-Ranges", "bytes".to_owned()));
        headers.push(("Content-Type", self.mime.into_owned()));
        let length = part.end - part.start;
        let body = match self.content {
            _ if request.method_is_head => FileBody::Empty,
            Content::Memory(bytes) => {
                let mut bytes = Cursor::new(bytes);
                bytes.set_position(part.start);
                FileBody::Memory(bytes.take(length))
            }
            Content::Disk(file) => FileBody::Disk(file, part),
        };
        FileAnswer {
            status,
            headers,
            length: Some(length),
            body,
        }
    }

    /// Takes the gzipped form for the file's bytes; returns whether there is one. It is another version of the file,
    /// with a tag of its own (RFC 9110 section 8.8.3.3).
    fn choose_gzipped(&mut self) -> bool {
        let Some(bytes) = self.gzipped else {
            return false;
        };
        self.length = bytes.len() as u64;
        self.content = Content::Memory(bytes.into());
        self.etag.insert_str(self.etag.len() - 1, "-gzip");
        true
    }
}

impl FileAnswer {
    pub(super) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            length: Some(0),
            body: FileBody::Empty,
        }
    }
}

impl Read for FileBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Empty => Ok(0),
            Self::Memory(bytes) => bytes.read(buffer),
            Self::Disk(file, part) => {
                let left = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
                let most = buffer.len().min(left);
                let got = file.read_at(&mut buffer[..most], part.start)?;
                part.start += got as u64;
                Ok(got)
            }
        }
    }
}

/// What HTTP can say of a time: not before 1970, not in the future (RFC 9110 section 8.8.2.1).
pub(super) fn http_time(modified: SystemTime) -> SystemTime {
    modified.min(SystemTime::now()).max(SystemTime::UNIX_EPOCH)
}

/// The type by the name's extension, with the charset where the type is text. Pages are UTF-8.
pub(super) fn mime(name: &str) -> Cow<'static, str> {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    // Those that the table knows as something else, or in another spelling than SRS.
    let streaming = match extension.to_ascii_lowercase().as_str() {
        "m3u8" => Some("application/vnd.apple.mpegurl"),
        "ts" => Some("video/mp2t"),
        "flv" => Some("video/x-flv"),
        "m4s" => Some("video/iso.segment"),
        _ => None,
    };
    if let Some(mime) = streaming {
        return mime.into();
    }
    let mime = mime_guess::from_ext(extension).first_or_octet_stream();
    let text = mime.type_() == "text" || mime.subtype() == "javascript";
    if text && mime.get_param("charset").is_none() {
        format!("{}; charset=utf-8", mime.essence_str()).into()
    } else {
        mime.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_that_browsers_and_players_want() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a.CSS", "text/css; charset=utf-8"),
            ("a.b.js", "text/javascript; charset=utf-8"),
            ("a.txt", "text/plain; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.svg", "image/svg+xml"),
            ("a.ico", "image/x-icon"),
            ("a.png", "image/png"),
            ("a.mp4", "video/mp4"),
            ("a.m3u8", "application/vnd.apple.mpegurl"),
            ("a.TS", "video/mp2t"),
            ("a.flv", "video/x-flv"),
            ("a.wasm", "application/wasm"),
            ("html", "application/octet-stream"),
            ("a.nonsense", "application/octet-stream"),
        ] {
            assert_eq!(mime(name), expected, "{name}");
        }
    }

    #[test]
    fn times_that_http_cannot_say_are_moved() {
        let hour = std::time::Duration::from_secs(3600);
        let old = SystemTime::UNIX_EPOCH - hour;
        assert_eq!(http_time(old), SystemTime::UNIX_EPOCH);
        assert!(http_time(SystemTime::now() + hour) <= SystemTime::now());
    }
}
