//! Static files, without sockets: from a request's target and conditions to a status, headers and a body.
//!
//! They come from a directory of the user's or from the `www` directory that is embedded in the binary.
//! Nothing outside the directory is served, nothing whose name begins with a dot, and no listing.

mod conditions;
mod directory;
mod embedded;
mod path;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Take};
use std::path::PathBuf;
use std::time::SystemTime;

pub use conditions::FileRequest;
use conditions::Outcome;
use path::FilePath;

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Files {
    /// `None` is the embedded `www`.
    root: Option<PathBuf>,
}

/// What a path leads to.
#[derive(Debug)]
pub enum Lookup {
    /// A file, open.
    File(Found),
    /// A directory that was asked for without its slash: go to this path, which has the query too.
    Redirect(String),
    /// Nothing that may be served.
    Missing,
}

/// A file with what is needed to decide on its response.
#[derive(Debug)]
pub struct Found {
    content: Content,
    /// In bytes.
    length: u64,
    mime: Cow<'static, str>,
    modified: SystemTime,
    /// Strong (RFC 9110 section 8.8.3), with its quotes.
    etag: String,
}

#[derive(Debug)]
enum Content {
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
    Disk(Take<File>),
}

impl Files {
    /// Files under `root`. It is looked up anew for each request, so a link to a directory may be turned to
    /// another one while the proxy runs.
    pub fn directory(root: PathBuf) -> Self {
        Self { root: Some(root) }
    }

    /// The files in the binary.
    pub fn embedded() -> Self {
        Self { root: None }
    }

    /// Answers a GET or HEAD for `target`, the path of a request with its query if it has one.
    ///
    /// # Errors
    /// Only for what the server lacks, such as file descriptors: a 500. What is not there, or may not
    /// be read, is a 404.
    pub fn answer(&self, target: &str, request: &FileRequest<'_>) -> io::Result<FileAnswer> {
        match self.find(target)? {
            Lookup::File(found) => found.respond(request),
            Lookup::Redirect(location) => Ok(FileAnswer {
                headers: vec![("Location", location)],
                ..FileAnswer::empty(301)
            }),
            Lookup::Missing => Ok(FileAnswer::empty(404)),
        }
    }

    /// Finds and opens what `target` leads to.
    ///
    /// # Errors
    /// As [`Files::answer`].
    pub fn find(&self, target: &str) -> io::Result<Lookup> {
        match (FilePath::parse(target), &self.root) {
            (Some(path), Some(root)) => directory::find(root, &path),
            (Some(path), None) => Ok(embedded::find(&path)),
            (None, _) => Ok(Lookup::Missing),
        }
    }
}

impl Found {
    /// Decides on the status by the request's conditions (RFC 9110 section 13.2.2) and its range.
    ///
    /// # Errors
    /// When the file cannot be read from where the range begins.
    pub fn respond(self, request: &FileRequest<'_>) -> io::Result<FileAnswer> {
        let outcome = request.evaluate(&self.etag, self.modified, self.length);
        let mut headers = vec![
            ("Last-Modified", httpdate::fmt_http_date(self.modified)),
            ("ETag", self.etag),
        ];
        if self.mime.starts_with("text/html") {
            // An age of its own guess (RFC 9111 section 4.2.2) would keep a browser on the page of
            // before an upgrade, with the scripts of after it.
            headers.push(("Cache-Control", "no-cache".to_owned()));
        }
        let (status, part) = match outcome {
            Outcome::NotModified => {
                return Ok(FileAnswer {
                    headers,
                    length: None,
                    ..FileAnswer::empty(304)
                });
            }
            Outcome::Unsatisfiable => {
                let headers = vec![
                    ("Accept-Ranges", "bytes".to_owned()),
                    ("Content-Range", format!("bytes */{}", self.length)),
                ];
                return Ok(FileAnswer {
                    headers,
                    ..FileAnswer::empty(416)
                });
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
            Content::Disk(mut file) => {
                file.seek(SeekFrom::Start(part.start))?;
                FileBody::Disk(file.take(length))
            }
        };
        Ok(FileAnswer {
            status,
            headers,
            length: Some(length),
            body,
        })
    }
}

impl FileAnswer {
    fn empty(status: u16) -> Self {
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
            Self::Disk(file) => file.read(buffer),
        }
    }
}

/// What HTTP can say of a time: not before 1970, not in the future (RFC 9110 section 8.8.2.1).
fn http_time(modified: SystemTime) -> SystemTime {
    modified.min(SystemTime::now()).max(SystemTime::UNIX_EPOCH)
}

/// The type by the name's extension, with the charset where the type is text. Pages are UTF-8.
fn mime(name: &str) -> Cow<'static, str> {
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
