//! Whether a stream has video: servers say so at its begin, and not always rightly.

/// Milliseconds of audio without any video after which a stream counts as one without video, although its
/// begin said otherwise. Servers send the video's configuration before the first audio.
const LONG_WITHOUT: u64 = 1000;
/// The same where the metadata, which encoders fill in, names no video.
const SHORT_WITHOUT: u64 = 200;

/// What is known of the video of one origin connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presence {
    known: Option<bool>,
    /// Milliseconds that audio may last before the stream counts as one without video.
    patience: Option<u64>,
    audio_since: Option<u64>,
}

impl Presence {
    /// The stream's begin says whether there is video.
    pub fn declared(&mut self, video: bool) {
        self.patience = Some(if video { LONG_WITHOUT } else { 0 });
    }

    /// The metadata says nothing of video.
    pub fn not_in_metadata(&mut self) {
        self.patience = Some(self.patience.unwrap_or(LONG_WITHOUT).min(SHORT_WITHOUT));
    }

    /// Something of a video was in the stream.
    pub fn video(&mut self) {
        self.known = Some(true);
    }

    /// A frame of audio was in the stream, at that time in ms.
    pub fn audio(&mut self, time: u64) {
        if self.known.is_some() {
            return;
        }
        let since = *self.audio_since.get_or_insert(time);
        if time.saturating_sub(since) >= self.patience.unwrap_or(LONG_WITHOUT) {
            self.known = Some(false);
        }
    }

    /// Whether there is video. `None`: not known yet.
    pub fn known(&self) -> Option<bool> {
        self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_alone_is_believed_after_a_while() {
        for (declared, metadata, known_at) in [
            (Some(true), true, 1000),
            (Some(true), false, 200),
            (Some(false), true, 0),
            (None, true, 1000),
        ] {
            let mut presence = Presence::default();
            declared
                .into_iter()
                .for_each(|video| presence.declared(video));
            if !metadata {
                presence.not_in_metadata();
            }
            for time in 0..1200 {
                presence.audio(5000 + time);
                let expected = (time >= known_at).then_some(false);
                assert_eq!(presence.known(), expected, "{declared:?} {metadata} {time}");
            }
            presence.video();
            assert_eq!(presence.known(), Some(true));
        }
    }
}
