//! A directory of the user's.
//!
//! Two things must hold at once: links are followed, but only to what lies inside the directory; and what was checked
//! is what is opened, even if somebody changes links meanwhile. So the path is first resolved to one without
//! links, which is checked, and that one is opened part by part without following any.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::files::found::{Content, FileLookup, FoundFile, http_time, mime};
use crate::files::path::FilePath;

const INDEX: &str = "index.html";

pub(super) fn find(root: &Path, path: &FilePath<'_>) -> io::Result<FileLookup> {
    match look(root, path) {
        Err(error) if is_missing(&error) => Ok(FileLookup::Missing),
        result => result,
    }
}

fn look(root: &Path, path: &FilePath<'_>) -> io::Result<FileLookup> {
    let root = fs::canonicalize(root)?;
    let mut wanted = root.clone();
    wanted.extend(path.names());
    let mut inside = resolve(&root, &wanted)?;
    let mut name = path.name();
    match (
        fs::symlink_metadata(root.join(&inside))?.is_dir(),
        path.slash,
    ) {
        (true, true) => {
            inside = resolve(&root, &wanted.join(INDEX))?;
            name = Some(INDEX);
        }
        (true, false) => return Ok(FileLookup::Redirect(path.with_slash())),
        (false, true) => return Ok(FileLookup::Missing),
        (false, false) => {}
    }
    let file = open(&root, &inside)?;
    let metadata = file.metadata()?;
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(FileLookup::File(FoundFile {
        length: metadata.len(),
        mime: mime(name.unwrap_or_default()),
        modified: http_time(modified),
        // The inode tells files apart that were put in place with the same time and size.
        etag: format!(
            "\"{:x}-{:x}-{:x}.{:x}\"",
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec()
        ),
        content: Content::Disk(file),
        gzipped: None,
    }))
}

/// Where `wanted` is below `root` once its links are followed. A link leads neither out nor to a dot file.
fn resolve(root: &Path, wanted: &Path) -> io::Result<PathBuf> {
    let real = fs::canonicalize(wanted)?;
    let inside = real.strip_prefix(root).map_err(|_| Errno::NOENT)?;
    if inside.iter().any(|part| part.as_bytes().starts_with(b".")) {
        return Err(Errno::NOENT.into());
    }
    Ok(inside.to_owned())
}

/// Opens a regular file on a way without links. Opening anything else may wait (a pipe) or act (a device), so
/// its kind is looked at before, and afterwards again.
fn open(root: &Path, inside: &Path) -> io::Result<File> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = inside.parent().unwrap_or(Path::new(""));
    let name = inside.file_name().ok_or(Errno::NOENT)?;
    let mut directory: OwnedFd = rustix::fs::openat(CWD, root, step, Mode::empty())?;
    for part in parent {
        directory = rustix::fs::openat(&directory, part, step, Mode::empty())?;
    }
    let kind = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
    if FileType::from_raw_mode(kind) != FileType::RegularFile {
        return Err(Errno::NOENT.into());
    }
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&directory, name, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(Errno::NOENT.into())
    }
}

/// Whether an error says that there is nothing to be served, and not that the server is in trouble.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::NOENT
                | Errno::NOTDIR
                | Errno::ACCESS
                | Errno::PERM
                | Errno::LOOP
                | Errno::NAMETOOLONG
                | Errno::INVAL
                | Errno::NXIO
                | Errno::NODEV
        )
    )
}

#[cfg(test)]
mod tests;
