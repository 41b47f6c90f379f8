//! Static files, without sockets: from a request's target and conditions to a status, headers and a body.
//!
//! They come from a directory of the user's or from the `www` directory that is embedded in the binary.
//! Nothing outside the directory is served, nothing whose name begins with a dot, and no listing.

mod conditions;
mod directory;
mod embedded;
mod found;
mod path;

use std::io;
use std::path::PathBuf;

pub use conditions::{FileRequest, Outcome, accepts_gzip};
use found::FileLookup;
pub use found::{FileAnswer, FileBody};
use path::FilePath;

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Files {
    /// `None` is the embedded `www`.
    root: Option<PathBuf>,
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
            FileLookup::File(found) => Ok(found.respond(request)),
            FileLookup::Redirect(location) => Ok(FileAnswer {
                headers: vec![("Location", location)],
                ..FileAnswer::empty(301)
            }),
            FileLookup::Missing => Ok(FileAnswer::empty(404)),
        }
    }

    /// Whether there is something for `target`, or this host lacks what it takes to know.
    pub fn has(&self, target: &str) -> bool {
        !matches!(self.find(target), Ok(FileLookup::Missing))
    }

    /// Finds and opens what `target` leads to.
    ///
    /// # Errors
    /// As [`Files::answer`].
    pub fn find(&self, target: &str) -> io::Result<FileLookup> {
        match (FilePath::parse(target), &self.root) {
            (Some(path), Some(root)) => directory::find(root, &path),
            (Some(path), None) => Ok(embedded::find(&path)),
            (None, _) => Ok(FileLookup::Missing),
        }
    }
}
