//! HLS sessions of a lab origin: the `hls_ctx` values that it has given out.

use super::identity::word;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A session that is not used for this long is forgotten: two windows, as in SRS, and a little more.
pub const SILENCE: Duration = Duration::from_secs(60);
/// HlsSessions that are remembered; beyond it the one that has been silent for longest goes.
const MOST: usize = 10_000;
/// Characters of an id.
const LENGTH: usize = 8;

/// The sessions that an origin knows.
#[derive(Debug, Default)]
pub struct HlsSessions(Mutex<HashMap<String, Session>>);

#[derive(Debug)]
struct Session {
    stream: String,
    used: Instant,
}

impl HlsSessions {
    /// Begins a session with `stream`, and gives its id.
    pub fn begin(&self, stream: &str, now: Instant) -> String {
        let id = word(LENGTH);
        let mut sessions = self.0.lock();
        if sessions.len() >= MOST {
            sessions.retain(|_, session| !session.is_over(now));
        }
        if sessions.len() >= MOST {
            let longest = sessions.iter().min_by_key(|(_, session)| session.used);
            if let Some(id) = longest.map(|(id, _)| id.clone()) {
                sessions.remove(&id);
            }
        }
        let session = Session {
            stream: stream.to_owned(),
            used: now,
        };
        sessions.insert(id.clone(), session);
        id
    }

    /// Whether `id` is a session with `stream`, which then has been used now.
    pub fn knows(&self, id: &str, stream: &str, now: Instant) -> bool {
        let mut sessions = self.0.lock();
        let session = sessions.get_mut(id);
        match session.filter(|it| it.stream == stream && !it.is_over(now)) {
            Some(session) => {
                session.used = now;
                true
            }
            None => false,
        }
    }
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) > SILENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_session_lives_while_it_is_used() {
        let sessions = HlsSessions::default();
        let mut now = Instant::now();
        let id = sessions.begin("a", now);
        assert!(!sessions.knows(&id, "b", now));
        assert!(!sessions.knows("other", "a", now));
        for _ in 0..3 {
            now += SILENCE;
            assert!(sessions.knows(&id, "a", now));
        }
        now += SILENCE + SECOND;
        assert!(!sessions.knows(&id, "a", now));
    }

    #[test]
    fn the_table_is_bounded() {
        let sessions = HlsSessions::default();
        let start = Instant::now();
        let first = sessions.begin("a", start);
        let second = sessions.begin("a", start + SECOND);
        for _ in 0..MOST {
            sessions.begin("a", start + SECOND * 2);
        }
        assert_eq!(sessions.0.lock().len(), MOST);
        let now = start + SECOND * 3;
        assert!(!sessions.knows(&first, "a", now) && !sessions.knows(&second, "a", now));
        let late = start + SILENCE * 3;
        let id = sessions.begin("a", late);
        assert_eq!(sessions.0.lock().len(), 1);
        assert!(sessions.knows(&id, "a", late));
    }
}
