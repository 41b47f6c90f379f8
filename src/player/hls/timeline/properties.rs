//! Any sequence of origins, restarts and windows gives numbers that never go back and never name two segments.

use super::Step;
use super::tests::Player;
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

/// What happens between two requests.
#[derive(Debug, Clone)]
enum Event {
    /// The origin makes so many segments more.
    Makes(u64),
    /// The stream moves to another origin, which has made so many segments by then.
    Moves(usize, u64),
    /// The origin starts anew under the same id, far enough back to be told from an older answer.
    Restarts,
    /// The same, and its numbers are that much higher, more than it can have made meanwhile.
    Leaps(u64),
    /// A tag of the origin's own, before its next segment.
    Tags,
    /// An older answer of the same origin.
    Lags(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..3u64).prop_map(Event::Makes),
        1 => (3..400u64).prop_map(Event::Makes),
        1 => (500..4000u64).prop_map(Event::Leaps),
        2 => (0..3usize, 1..30u64).prop_map(|(origin, made)| Event::Moves(origin, made)),
        1 => Just(Event::Restarts),
        1 => Just(Event::Tags),
        1 => (1..4u64).prop_map(Event::Lags),
    ]
}

/// A publication on an origin.
#[derive(Debug, Clone)]
struct Run {
    origin: usize,
    run: u64,
    made: u64,
    tags: Vec<u64>,
}

impl Run {
    /// The playlist of `window` segments; each URI tells in its query, which names leave out, whose it is.
    fn playlist(&self, window: u64, lag: u64, parts: bool) -> Option<String> {
        let made = self.made.checked_sub(lag).filter(|made| *made > 0)?;
        let first = made.saturating_sub(window);
        let gone = self.tags.iter().filter(|tag| **tag < first).count();
        let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
        if gone > 0 {
            text += &format!("#EXT-X-DISCONTINUITY-SEQUENCE:{gone}\n");
        }
        for number in first..made {
            if self.tags.contains(&number) {
                text += "#EXT-X-DISCONTINUITY\n";
            }
            text += &format!(
                "#EXTINF:2,\nlive-{number}.ts?{}.{}\n",
                self.origin, self.run
            );
        }
        if parts && !self.tags.contains(&made) {
            text += &format!(
                "#EXT-X-PART:DURATION=1,URI=\"live-{made}.0.ts?{}.{}\"\n",
                self.origin, self.run
            );
        }
        Some(text)
    }
}

/// Numbers, discontinuity numbers and URIs of a playlist as a player reads them.
fn read(text: &str) -> (u64, u64, Vec<(u64, u64, String)>) {
    let value = |tag: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(tag));
        line.map_or(0, |value| value.parse().unwrap())
    };
    let (first, gone) = (
        value("#EXT-X-MEDIA-SEQUENCE:"),
        value("#EXT-X-DISCONTINUITY-SEQUENCE:"),
    );
    let (mut number, mut discontinuity, mut segments) = (first, gone, Vec::new());
    for line in text.lines() {
        if line == "#EXT-X-DISCONTINUITY" {
            discontinuity += 1;
        } else if let Some(rest) = line.strip_prefix("#EXT-X-PART:DURATION=1,URI=\"") {
            let whole = rest.trim_end_matches('"').replacen(".0.ts", ".ts", 1);
            segments.push((number, discontinuity, whole));
        } else if !line.starts_with('#') {
            segments.push((number, discontinuity, line.to_owned()));
            number += 1;
        }
    }
    (first, gone, segments)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn numbers_never_go_back_and_never_name_two_segments(
        events in prop::collection::vec(event(), 1..60),
        window in 1..12u64,
        start in 0..2000u64,
        parts in any::<bool>(),
    ) {
        let mut run = Run { origin: 0, run: 0, made: start + 1, tags: Vec::new() };
        let mut runs = 0;
        let mut player = Player::new();
        let mut named: HashMap<u64, (u64, String)> = HashMap::new();
        let (mut first, mut gone, mut last) = (0, 0, 0);
        for event in events {
            let mut lag = 0;
            match event {
                Event::Makes(more) => {
                    run.made += more;
                    player.wait(Duration::from_secs(2) * u32::try_from(more).unwrap());
                }
                Event::Moves(origin, made) if origin != run.origin => {
                    runs += 1;
                    run = Run { origin, run: runs, made, tags: vec![0] };
                }
                // Only what has gone back further than an older answer would is seen as a restart.
                Event::Restarts if run.made > 40 => {
                    runs += 1;
                    run = Run { run: runs, made: 1 + run.made % 4, tags: vec![], ..run };
                }
                Event::Leaps(ahead) => {
                    runs += 1;
                    run = Run { run: runs, made: run.made + ahead, tags: vec![], ..run };
                }
                // Parts of the next segment may have gone out already, without a tag.
                Event::Tags if run.tags.last() != Some(&(run.made + 1)) => {
                    run.tags.push(run.made + 1);
                }
                Event::Lags(behind) => lag = behind,
                _ => {}
            }
            let Some(body) = run.playlist(window, lag, parts) else { continue };
            let origin = run.origin.to_string();
            let before = player.timeline.clone();
            let step = player.step(&origin, &body);
            if lag > 0 && step == Step::Outdated {
                continue;
            }
            let Step::Goes { mapping, timeline, .. } = step else {
                return Err(TestCaseError::fail(format!("{step:?} for {body}")));
            };
            let list = super::media::MediaPlaylist::read(body.as_bytes()).unwrap();
            let out = super::write::write(body.as_bytes(), &list, &mapping);
            let out = String::from_utf8(out.into_owned()).unwrap();
            if before.is_none_or(|before| before.epoch == timeline.epoch) && timeline.epoch.number == 0 {
                prop_assert_eq!(&out, &body);
            }
            let (new_first, new_gone, segments) = read(&out);
            prop_assert!(!segments.is_empty());
            let new_last = segments[segments.len() - 1].0;
            prop_assert!(new_first >= first && new_gone >= gone && new_last >= last,
                "{} {} {} after {} {} {}: {}", new_first, new_gone, new_last, first, gone, last, out);
            (first, gone, last) = (new_first, new_gone, new_last);
            for (number, discontinuity, uri) in segments {
                let known = named.entry(number).or_insert_with(|| (discontinuity, uri.clone()));
                prop_assert_eq!(&*known, &(discontinuity, uri), "number {} in {}", number, out);
            }
        }
    }

    #[test]
    fn any_text_is_written_within_its_bounds(
        pieces in prop::collection::vec(prop::sample::select(&[
            "#EXTM3U\n", "#EXT-X-TARGETDURATION:2\n", "#EXT-X-MEDIA-SEQUENCE:18446744073709551614\n",
            "#EXT-X-MEDIA-SEQUENCE:7\n", "#EXT-X-DISCONTINUITY\n", "#EXT-X-DISCONTINUITY-SEQUENCE:9\n", "#EXTINF:2,\n",
            "a.ts\n", "b.ts", "#EXT-X-PART:URI=\"p\"\n", "#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n", "#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n",
            "#EXT-X-RENDITION-REPORT:LAST-MSN=4\n", "\u{feff}", "\r\n", "#EXT-X-ENDLIST\n", "#EXT-X-PLAYLIST-TYPE:EVENT\n",
        ][..]), 0..40),
        others in prop::collection::vec((0..3u8, 0..50u64), 0..4),
    ) {
        let body = pieces.concat();
        let mut player = Player::new();
        for (origin, first) in others {
            player.step(&origin.to_string(), &super::tests::srs("live", first, first + 3));
        }
        if let Some(list) = super::media::MediaPlaylist::read(body.as_bytes())
            && let Step::Goes { mapping, .. } = player.step("1", &body)
        {
            let out = super::write::write(body.as_bytes(), &list, &mapping);
            prop_assert!(out.len() <= 3 * body.len() + 60 * list.count as usize + 200);
        }
    }
}
