//! The `spbhid`: an HLS session is nothing but its stream.
//!
//! The id is the stream's URL in unpadded base64url (RFC 4648 section 5), so any proxy reads the stream from it,
//! after a restart too, and there is no table of sessions.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::stream::url::{MAX_STREAM_URL, StreamUrl};

/// Longest id of ours, in bytes: base64 makes 4 of 3.
pub const MAX_SESSION_ID: usize = (MAX_STREAM_URL * 4).div_ceil(3);

/// The `spbhid` of a stream: letters, digits, `-` and `_`, fit for a query as it is.
pub fn session_id(stream: &StreamUrl) -> String {
    URL_SAFE_NO_PAD.encode(stream.as_str())
}

/// The `spbhid` of a stream in an epoch of its playlist: names of files may come again in the next one, and no cache
/// may mix them up. `epoch` is a few hexadecimal digits; without one this is [`session_id`].
pub fn session_id_in(stream: &StreamUrl, epoch: Option<&str>) -> String {
    match epoch {
        Some(epoch) => format!("{}.{epoch}", session_id(stream)),
        None => session_id(stream),
    }
}

/// An id without its epoch, and the epoch; `None` where it has none.
pub fn split_epoch(id: &str) -> (&str, Option<&str>) {
    match id.rsplit_once('.') {
        Some((id, epoch)) if is_epoch(epoch) => (id, Some(epoch)),
        _ => (id, None),
    }
}

fn is_epoch(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (1..=8).contains(&text.len()) && text.bytes().all(hex)
}

/// The stream that an id stands for, with an epoch or without.
///
/// `None` unless the id is exactly what [`session_id_in`] gives for some stream; an id of the Go proxy is not, and has
/// to be looked up where that proxy left it.
pub fn stream_of_session(id: &str) -> Option<StreamUrl> {
    let (id, _) = split_epoch(id);
    if id.len() > MAX_SESSION_ID {
        return None;
    }
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
    StreamUrl::parse(&text).filter(|stream| stream.as_str() == text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_the_stream_in_base64url() {
        let stream = StreamUrl::parse("ts.example.com/live/a").unwrap();
        assert_eq!(session_id(&stream), "dHMuZXhhbXBsZS5jb20vbGl2ZS9h");
        let strange = StreamUrl::parse("__defaultVhost__/live/ÿ?>").unwrap();
        assert!(
            session_id(&strange)
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        assert_eq!(stream_of_session(&session_id(&strange)), Some(strange));
    }

    #[test]
    fn an_epoch_comes_after_the_stream() {
        let stream = StreamUrl::parse("ts.example.com/live/a").unwrap();
        let id = session_id_in(&stream, Some("1f"));
        assert_eq!(id, "dHMuZXhhbXBsZS5jb20vbGl2ZS9h.1f");
        assert_eq!(
            split_epoch(&id),
            ("dHMuZXhhbXBsZS5jb20vbGl2ZS9h", Some("1f"))
        );
        assert_eq!(stream_of_session(&id), Some(stream.clone()));
        assert_eq!(session_id_in(&stream, None), session_id(&stream));
        for other in ["", ".", "1F", "x", "123456789", "1.2"] {
            let id = format!("{}.{other}", session_id(&stream));
            assert!(other == "1.2" || stream_of_session(&id).is_none(), "{id}");
        }
    }

    #[test]
    fn the_longest_stream_fits() {
        let text = format!(
            "a.b/live/{}",
            "x".repeat(MAX_STREAM_URL - "a.b/live/".len())
        );
        let stream = StreamUrl::parse(&text).unwrap();
        let id = session_id(&stream);
        assert_eq!(id.len(), MAX_SESSION_ID);
        assert_eq!(stream_of_session(&id), Some(stream));
    }

    #[test]
    fn what_is_not_ours_is_none() {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let rows = [
            String::new(),
            "z8v8f338".into(),
            "0f1e2d3c".into(),
            "dHMuZXhhbXBsZS5jb20vbGl2ZS9h=".into(),
            "dHMuZXhhbXBsZS5jb20vbGl2ZS9h\n".into(),
            "+/+/".into(),
            encode("ts.example.com"),
            encode("TS.example.com/live/a"),
            encode("127.0.0.1/live/a"),
            encode("ts.example.com//live/a"),
            encode("ts.example.com/../a"),
            encode("ts.example.com/live/a\r\nX: y"),
            URL_SAFE_NO_PAD.encode(b"a.b/live/\xff"),
            "A".repeat(MAX_SESSION_ID + 1),
        ];
        for id in rows {
            assert_eq!(stream_of_session(&id), None, "{id}");
        }
    }

    proptest! {
        #[test]
        fn every_stream_comes_back(text in "[a-z]{1,5}\\.[a-z]{2}/(\\PC{1,9}/){0,2}\\PC{1,9}") {
            if let Some(stream) = StreamUrl::parse(&text) {
                prop_assert_eq!(stream_of_session(&session_id(&stream)), Some(stream));
            }
        }

        #[test]
        fn any_id_is_ours_or_none(id in any::<String>()) {
            if let Some(stream) = stream_of_session(&id) {
                prop_assert_eq!(session_id_in(&stream, split_epoch(&id).1), id);
            }
        }

        #[test]
        fn any_decoded_bytes_are_ours_or_none(bytes in any::<Vec<u8>>()) {
            let id = URL_SAFE_NO_PAD.encode(bytes);
            if let Some(stream) = stream_of_session(&id) {
                prop_assert_eq!(session_id(&stream), id);
            }
        }
    }
}
