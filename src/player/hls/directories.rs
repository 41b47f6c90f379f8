//! Which stream the playlists of a directory were of: for players and CDNs that drop a session's query.

use crate::stream::url::StreamUrl;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::mem;

/// Directories of a generation; there are at most two.
const GENERATION: usize = 10_000;
/// Levels that a file may lie below its playlist.
const MAX_LEVELS: usize = 4;

/// The stream that was last served from each directory, in bounded memory.
#[derive(Debug, Default)]
pub struct Directories(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<String, StreamUrl>,
    old: HashMap<String, StreamUrl>,
}

impl Directories {
    /// A playlist of `stream` went out at the URL that names `by_url`.
    pub fn put(&self, by_url: &StreamUrl, stream: &StreamUrl) {
        let Some(directory) = parent(by_url.as_str()) else {
            return;
        };
        let mut table = self.0.lock();
        if table.young.get(directory) == Some(stream) {
            return;
        }
        if table.young.len() >= GENERATION {
            table.old = mem::take(&mut table.young);
        }
        table.young.insert(directory.to_owned(), stream.clone());
    }

    /// The stream whose file the URL that names `by_url` may be.
    pub fn get(&self, by_url: &StreamUrl) -> Option<StreamUrl> {
        let table = self.0.lock();
        let mut path = by_url.as_str();
        for _ in 0..MAX_LEVELS {
            path = parent(path)?;
            if let Some(stream) = table.young.get(path).or_else(|| table.old.get(path)) {
                return Some(stream.clone());
            }
        }
        None
    }
}

fn parent(path: &str) -> Option<&str> {
    path.rfind('/').map(|slash| &path[..slash])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(path: &str) -> StreamUrl {
        StreamUrl::parse(&format!("v.example/{path}")).unwrap()
    }

    #[test]
    fn a_file_belongs_to_the_last_stream_of_its_directory() {
        let directories = Directories::default();
        directories.put(&stream("live/a"), &stream("live/a"));
        assert_eq!(
            directories.get(&stream("live/init")),
            Some(stream("live/a"))
        );
        assert_eq!(
            directories.get(&stream("live/seg/1/2")),
            Some(stream("live/a"))
        );
        assert_eq!(directories.get(&stream("other/init")), None);
        assert_eq!(directories.get(&stream("live")), None);
        directories.put(&stream("live/b"), &stream("live/b"));
        assert_eq!(
            directories.get(&stream("live/init")),
            Some(stream("live/b"))
        );
        for n in 0..3 * GENERATION {
            directories.put(&stream(&format!("x{n}/a")), &stream("x/a"));
        }
        let table = directories.0.lock();
        assert!(table.young.len() + table.old.len() <= 2 * GENERATION);
    }
}
