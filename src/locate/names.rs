//! One name for a stream that is asked for under many: SRS serves the default vhost's stream under every vhost that has
//! no stream of that name itself, so that whoever asks makes the vhost up.

use crate::runtime::recent::Recent;
use crate::stream::url::StreamUrl;
use parking_lot::Mutex;
use std::borrow::Cow;

/// Names that are known at least to be of the default vhost's streams. A forgotten one costs a question to the APIs.
const NAMES: usize = 20_000;

/// Which names mean streams of the default vhost, as the origins' APIs said last. One for the process.
#[derive(Debug)]
pub(super) struct StreamNames {
    known: Mutex<Recent<bool>>,
}

impl Default for StreamNames {
    fn default() -> Self {
        Self {
            known: Mutex::new(Recent::new(NAMES)),
        }
    }
}

impl StreamNames {
    /// The name under which pins, statistics and news of a stream are kept: the default vhost's where the APIs told that
    /// the stream is that one, else its own.
    pub fn name_of<'a>(&self, stream: &'a StreamUrl) -> Cow<'a, StreamUrl> {
        match stream.in_default_vhost() {
            Some(stand_in) if self.known.lock().peek(stream) == Some(&true) => Cow::Owned(stand_in),
            _ => Cow::Borrowed(stream),
        }
    }

    /// An API lists the stream: under its own vhost (`exact`), or the default vhost's stream of that name only.
    pub fn listed(&self, stream: &StreamUrl, exact: bool) {
        let mut known = self.known.lock();
        // What is listed under its own vhost is not to fill the table.
        if !exact || known.peek(stream) == Some(&true) {
            *known.of(stream) = !exact;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_vhosts_stream_has_one_name_until_there_is_another() {
        let (names, stream) = (StreamNames::default(), |text| {
            StreamUrl::parse(text).unwrap()
        });
        let (own, default) = (
            stream("v.example/live/a"),
            stream("__defaultVhost__/live/a"),
        );
        assert_eq!(*names.name_of(&own), own, "nobody has said anything");
        names.listed(&own, false);
        assert_eq!(*names.name_of(&own), default);
        assert_eq!(*names.name_of(&default), default);
        names.listed(&own, true);
        assert_eq!(*names.name_of(&own), own, "it is published for itself");
        names.listed(&default, true);
        assert_eq!(*names.name_of(&default), default);
    }
}
