use super::media::MediaPlaylist;
use super::write::write;
use super::*;

/// A playlist of SRS: segments `first` to `last` of stream `name`.
pub(super) fn srs(name: &str, first: u64, last: u64) -> String {
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-TARGETDURATION:2\n"
    );
    for number in first..=last {
        text += &format!("#EXTINF:2.000, no desc\n{name}-{number}.ts\n");
    }
    text
}

/// A player's view: one timeline, and a clock.
pub(super) struct Player {
    pub timeline: Option<Timeline>,
    now: Instant,
}

impl Player {
    pub fn new() -> Self {
        Self {
            timeline: None,
            now: Instant::now(),
        }
    }

    pub fn wait(&mut self, time: Duration) -> Instant {
        self.now += time;
        self.now
    }

    pub fn step(&mut self, origin: &str, body: &str) -> Step {
        let asked = self.wait(Duration::from_millis(10));
        self.step_asked(origin, body, asked)
    }

    pub fn step_asked(&mut self, origin: &str, body: &str, asked: Instant) -> Step {
        self.now += Duration::from_millis(10);
        let list = MediaPlaylist::read(body.as_bytes()).expect("a media playlist");
        let seen = Seen {
            origin: &origin.into(),
            asked,
            now: self.now,
        };
        let step = next(self.timeline.as_ref(), &seen, &list);
        if let Step::Goes { timeline, .. } = &step {
            self.timeline = Some((**timeline).clone());
        }
        step
    }

    /// What goes out, and the epoch's tag.
    #[track_caller]
    pub fn gets(&mut self, origin: &str, body: &str) -> (String, Option<String>) {
        match self.step(origin, body) {
            Step::Goes { mapping, .. } => {
                let list = MediaPlaylist::read(body.as_bytes()).unwrap();
                let out = write(body.as_bytes(), &list, &mapping);
                (String::from_utf8(out.into_owned()).unwrap(), mapping.tag)
            }
            step => panic!("{step:?}"),
        }
    }

    #[track_caller]
    fn untouched(&mut self, origin: &str, body: &str) {
        assert_eq!(self.gets(origin, body), (body.to_owned(), None));
    }
}

#[test]
fn while_the_origin_goes_on_nothing_changes() {
    let mut player = Player::new();
    for first in [1000, 1000, 1001, 1004] {
        player.untouched("a", &srs("live", first, first + 4));
    }
    // Nobody watched for three minutes.
    player.wait(Duration::from_secs(192));
    player.untouched("a", &srs("live", 1100, 1104));
    // A recording window that begins earlier and ends where the live one does.
    player.untouched("a", &srs("live", 900, 1104));
    player.untouched("a", &srs("live", 1101, 1105));
}

#[test]
fn another_origin_goes_on_after_the_last_number() {
    let mut player = Player::new();
    player.untouched("a", &srs("live", 996, 1000));
    let (first, tag) = player.gets("b", &srs("live", 12, 14));
    assert_eq!(
        first,
        "#EXTM3U\n#EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:1001\n#EXT-X-TARGETDURATION:2\n\
         #EXT-X-DISCONTINUITY\n#EXTINF:2.000, no desc\nlive-12.ts\n#EXTINF:2.000, no desc\nlive-13.ts\n\
         #EXTINF:2.000, no desc\nlive-14.ts\n"
            .replace("#EXT-X-DISCONTINUITY-SEQUENCE:0\n", "")
    );
    assert!(tag.is_some());
    let (second, same) = player.gets("b", &srs("live", 13, 15));
    assert!(second.contains("#EXT-X-MEDIA-SEQUENCE:1002\n"), "{second}");
    assert!(
        second.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n"),
        "{second}"
    );
    assert!(!second.contains("#EXT-X-DISCONTINUITY\n"), "{second}");
    assert_eq!(same, tag);
    // Back again: another epoch, for the files of the first have the same names.
    let (third, other) = player.gets("a", &srs("live", 1003, 1005));
    assert!(third.contains("#EXT-X-MEDIA-SEQUENCE:1005\n"), "{third}");
    assert!(
        third.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n"),
        "{third}"
    );
    assert!(third.contains("#EXT-X-DISCONTINUITY\n"), "{third}");
    assert!(other.is_some() && other != tag);
}

#[test]
fn numbers_that_go_back_or_names_that_differ_are_a_new_beginning() {
    for (name, first, last) in [("live", 0, 2), ("other", 1000, 1004), ("other", 998, 1000)] {
        let mut player = Player::new();
        player.untouched("a", &srs("live", 996, 1000));
        let (text, tag) = player.gets("a", &srs(name, first, last));
        assert!(
            text.contains(
                "#EXT-X-MEDIA-SEQUENCE:1001\n#EXT-X-TARGETDURATION:2\n#EXT-X-DISCONTINUITY\n"
            ),
            "{text}"
        );
        assert!(tag.is_some());
    }
}

#[test]
fn numbers_that_no_stream_can_have_reached_are_a_new_beginning() {
    let mut player = Player::new();
    player.untouched("a", &srs("live", 996, 1000));
    // Three segments more than were seen: a slow look, or a burst.
    player.untouched("a", &srs("live", 1003, 1004));
    // A restart with higher numbers, which no heartbeat has told of yet.
    player.wait(Duration::from_secs(4));
    let (list, tag) = player.gets("a", &srs("live", 7000, 7002));
    assert!(list.contains("#EXT-X-MEDIA-SEQUENCE:1005\n"), "{list}");
    assert!(list.contains("#EXT-X-DISCONTINUITY\n") && tag.is_some());
    // What the next playlist is ahead by is judged from here on.
    player.wait(Duration::from_secs(2));
    let (list, same) = player.gets("a", &srs("live", 7001, 7003));
    assert!(list.contains("#EXT-X-MEDIA-SEQUENCE:1006\n"), "{list}");
    assert_eq!(same, tag);
}

#[test]
fn a_heartbeat_that_comes_after_the_playlist_is_no_second_beginning() {
    let (before, after) = ("vid-1-first-10", "vid-1-second-20");
    for start in [2, 7000] {
        let mut player = Player::new();
        player.untouched(before, &srs("live", 996, 1000));
        player.wait(Duration::from_secs(4));
        let (list, _) = player.gets(before, &srs("live", start, start + 2));
        assert!(list.contains("#EXT-X-MEDIA-SEQUENCE:1001\n"), "{list}");
        player.wait(Duration::from_secs(6));
        let (list, _) = player.gets(after, &srs("live", start + 2, start + 4));
        assert!(list.contains("#EXT-X-MEDIA-SEQUENCE:1003\n"), "{list}");
        assert!(!list.contains("#EXT-X-DISCONTINUITY\n"), "{list}");
        let epoch = player.timeline.as_ref().map(|it| it.epoch.clone());
        assert_eq!(
            epoch.map(|it| (it.number, it.origin)),
            Some((1, after.into()))
        );
        // Later a new id is a new start, whatever its numbers.
        player.wait(LATE_WORD);
        let (list, _) = player.gets("vid-1-third-30", &srs("live", start + 3, start + 5));
        assert!(list.contains("#EXT-X-DISCONTINUITY\n"), "{list}");
    }
    // Another server's files have the same names.
    let mut player = Player::new();
    player.untouched("vid-1-s-1", &srs("live", 10, 12));
    let (list, _) = player.gets("vid-2-s-1", &srs("live", 11, 13));
    assert!(list.contains("#EXT-X-DISCONTINUITY\n"), "{list}");
}

#[test]
fn the_same_files_under_other_numbers_keep_theirs() {
    let mut player = Player::new();
    player.untouched("a", &srs("live", 996, 1000));
    let renumbered = srs("live", 998, 1002).replace("SEQUENCE:998", "SEQUENCE:5");
    let (text, tag) = player.gets("a", &renumbered);
    assert_eq!(text, srs("live", 998, 1002));
    assert_eq!(tag, None);
}

#[test]
fn an_older_answer_is_outdated_and_no_new_beginning() {
    let mut player = Player::new();
    player.untouched("a", &srs("live", 996, 1000));
    assert_eq!(player.step("a", &srs("live", 994, 998)), Step::Outdated);
    let early = player.wait(Duration::ZERO);
    player.gets("b", &srs("live", 12, 14));
    for (origin, first) in [("a", 997), ("c", 5)] {
        let step = player.step_asked(origin, &srs("live", first, first + 4), early);
        assert_eq!(step, Step::Outdated, "{origin}");
    }
    // The first answer of the new origin was not its oldest.
    let (text, _) = player.gets("b", &srs("live", 10, 15));
    assert!(text.contains("SEQUENCE:1001\n"), "{text}");
    assert!(
        !text.contains("live-11.ts")
            && text.contains("DISCONTINUITY\n#EXTINF:2.000, no desc\nlive-12.ts"),
        "{text}"
    );
}

#[test]
fn what_has_ended_from_the_start_is_never_touched() {
    let mut player = Player::new();
    let ended = |first, last| srs("live", first, last) + "#EXT-X-ENDLIST\n";
    for origin in ["a", "b"] {
        assert_eq!(player.step(origin, &ended(0, 9)), Step::Untouched);
        assert_eq!(player.step(origin, &ended(5, 7)), Step::Untouched);
    }
    // What ends later goes on as it did.
    player.untouched("a", &srs("live", 0, 8));
    player.untouched("a", &ended(0, 9));
}

#[test]
fn a_new_origin_without_segments_has_nothing_to_say() {
    let mut player = Player::new();
    let empty = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:2\n";
    assert_eq!(player.step("a", empty), Step::Untouched);
    player.untouched("a", &srs("live", 996, 1000));
    assert_eq!(player.step("b", empty), Step::Empty);
    assert_eq!(player.timeline.as_ref().unwrap().epoch.number, 0);
}

#[test]
fn own_tags_before_the_first_segment_are_the_mark() {
    let mut player = Player::new();
    player.untouched("a", &srs("live", 996, 1000));
    let tagged = srs("live", 0, 2).replacen("#EXTINF", "#EXT-X-DISCONTINUITY\n#EXTINF", 1);
    let (text, _) = player.gets("b", &tagged);
    assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1);
    let (text, _) = player.gets(
        "b",
        &srs("live", 1, 3).replace(
            "#EXT-X-TARGETDURATION",
            "#EXT-X-DISCONTINUITY-SEQUENCE:1\n#EXT-X-TARGETDURATION",
        ),
    );
    assert!(text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n"), "{text}");
    assert!(!text.contains("#EXT-X-DISCONTINUITY\n"));
}

#[test]
fn a_key_without_iv_gets_the_one_that_it_meant() {
    let mut player = Player::new();
    player.untouched("a", &srs("live", 996, 1000));
    let keyed = "#EXTM3U\r\n#EXT-X-MEDIA-SEQUENCE:12\r\n#EXT-X-TARGETDURATION:2\r\n\
        #EXT-X-KEY:METHOD=AES-128,URI=\"k\"\r\n#EXTINF:2,\r\na-12.ts\r\n#EXTINF:2,\r\na-13.ts\r\n\
        #EXT-X-KEY:METHOD=AES-128,URI=\"l\",IV=0x01\r\n#EXTINF:2,\r\na-14.ts\r\n\
        #EXT-X-KEY:METHOD=NONE\r\n#EXTINF:2,\r\na-15.ts\r\n#EXTINF:2,\r\na-16.ts\r\n";
    let (text, _) = player.gets("b", keyed);
    assert_eq!(
        text,
        "#EXTM3U\r\n#EXT-X-MEDIA-SEQUENCE:1001\r\n#EXT-X-TARGETDURATION:2\r\n#EXT-X-DISCONTINUITY\r\n\
         #EXT-X-KEY:METHOD=AES-128,URI=\"k\",IV=0x0000000000000000000000000000000c\r\n#EXTINF:2,\r\na-12.ts\r\n\
         #EXT-X-KEY:METHOD=AES-128,URI=\"k\",IV=0x0000000000000000000000000000000d\r\n#EXTINF:2,\r\na-13.ts\r\n\
         #EXT-X-KEY:METHOD=AES-128,URI=\"l\",IV=0x01\r\n#EXTINF:2,\r\na-14.ts\r\n\
         #EXT-X-KEY:METHOD=NONE\r\n#EXTINF:2,\r\na-15.ts\r\n#EXTINF:2,\r\na-16.ts\r\n"
    );
}

/// A low-latency playlist: whole segments, then parts of the next one.
fn low_latency(first: u64, last: u64, parts: u64) -> String {
    let mut text = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-MEDIA-SEQUENCE:{first}\n\
         #EXT-X-MAP:URI=\"init.mp4\"\n"
    );
    for number in first..=last {
        text += &format!(
            "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:{number:02}Z\n#EXTINF:2,\ns{number}.m4s\n"
        );
    }
    for part in 0..parts {
        text += &format!(
            "#EXT-X-PART:DURATION=0.5,URI=\"s{}.{part}.m4s\"\n",
            last + 1
        );
    }
    text += &format!(
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"s{}.{parts}.m4s\"\n",
        last + 1
    );
    text + &format!(
        "#EXT-X-RENDITION-REPORT:URI=\"b.m3u8\",LAST-MSN={},LAST-PART=1\n",
        last + 1
    )
}

#[test]
fn parts_count_as_the_segment_that_they_are_of() {
    let mut player = Player::new();
    player.untouched("a", &low_latency(16, 20, 2));
    let (text, _) = player.gets("b", &low_latency(5, 7, 1));
    // 21 has gone out in parts: a player may have played half of it.
    assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:22\n"), "{text}");
    assert!(
        text.contains("\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXT-X-PROGRAM"),
        "{text}"
    );
    assert!(text.contains("LAST-MSN=25,LAST-PART=1\n"), "{text}");
    let timeline = player.timeline.as_ref().unwrap();
    assert_eq!(
        (timeline.to_origin(25), timeline.to_origin(21)),
        (Some(8), None)
    );
    assert!(timeline.is_fresh());
    // The part has become a segment: the same number.
    let (text, _) = player.gets("b", &low_latency(5, 8, 1));
    assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:22\n"), "{text}");
}

#[test]
fn a_delta_across_a_change_is_asked_for_anew() {
    let mut player = Player::new();
    player.untouched("a", &low_latency(10, 20, 0));
    let skipping = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:5\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n\
        #EXTINF:2,\ns8.m4s\n#EXTINF:2,\ns9.m4s\n";
    assert_eq!(player.step("b", skipping), Step::Skips);
    player.gets("b", &low_latency(5, 8, 0));
    // The mark is among what is left out, and counted.
    let (text, _) = player.gets("b", skipping);
    assert!(
        text.contains("#EXT-X-MEDIA-SEQUENCE:21\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n#EXTINF"),
        "{text}"
    );
    assert!(!text.contains("DISCONTINUITY"), "{text}");
    let (text, _) = player.gets(
        "b",
        &skipping
            .replace("SEQUENCE:5", "SEQUENCE:6")
            .replace("=3", "=2"),
    );
    assert!(text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n"), "{text}");
}

#[test]
fn what_is_no_media_playlist_has_no_timeline() {
    for other in [
        "#EXTM3U\n#EXTINF:-1,News\n/live/news.m3u8\n",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n",
        "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:-1\n#EXTINF:2,\na.ts\n",
        "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:18446744073709551615\n#EXTINF:2,\na.ts\n",
        "",
    ] {
        assert_eq!(MediaPlaylist::read(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn numbers_at_the_end_of_all_numbers_pass_as_they_are() {
    let mut player = Player::new();
    let far = u64::MAX - 10;
    player.untouched("a", &srs("live", far, far + 8));
    assert_eq!(player.step("b", &srs("live", 5, 9)), Step::Untouched);
}

#[test]
fn an_epochs_record_goes_on_at_another_proxy() {
    let mut player = Player::new();
    player.untouched("a", &srs("live", 996, 1000));
    player.gets("b", &srs("live", 12, 14));
    let text = record::write(player.timeline.as_ref().unwrap());
    let mut other = Player::new();
    other.timeline = record::read(&text, other.now);
    assert_eq!(
        player.gets("b", &srs("live", 12, 15)),
        other.gets("b", &srs("live", 12, 15))
    );
    other.timeline = record::read(&text, other.now);
    let (text, _) = other.gets("c", &srs("live", 0, 3));
    assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:1004\n"), "{text}");
    assert!(text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n"), "{text}");
}
