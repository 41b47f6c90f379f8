use super::*;
use crate::balancer::memory::Memory;
use crate::balancer::origin::Origin;
use crate::balancer::{Candidate, OriginView, PinFormat, Unavailable, Unpinned};
use crate::player::hls::timeline::Mapping;
use crate::stream::origin_id::OriginId;

const PATH: &str = "/live/a.m3u8";

fn stream(name: &str) -> StreamUrl {
    StreamUrl::parse(&format!("__defaultVhost__/live/{name}")).unwrap()
}

fn list(first: u64, last: u64) -> MediaPlaylist {
    let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
    for number in first..=last {
        text += &format!("#EXTINF:2,\nlive-{number}.ts\n");
    }
    MediaPlaylist::read(text.as_bytes()).unwrap()
}

/// Memory, and texts that several "proxies" share.
struct Shared {
    memory: Memory,
    texts: Arc<Mutex<HashMap<String, String>>>,
}

impl Balancer for Shared {
    fn register(&self, origin: Origin) -> Result<(), Unavailable> {
        self.memory.register(origin)
    }
    fn pinned(&self, stream: &StreamUrl) -> Option<Candidate> {
        self.memory.pinned(stream)
    }
    fn candidates(&self) -> Vec<Candidate> {
        self.memory.candidates()
    }
    fn pin(&self, stream: &StreamUrl, id: &OriginId, format: PinFormat) {
        self.memory.pin(stream, id, format);
    }
    fn unpin(&self, stream: &StreamUrl, id: &OriginId, format: PinFormat) -> Unpinned {
        self.memory.unpin(stream, id, format)
    }
    fn suspect(&self, id: &OriginId, why: &str) {
        self.memory.suspect(id, why);
    }
    fn drain(&self, id: &str, draining: bool) -> Result<bool, Unavailable> {
        self.memory.drain(id, draining)
    }
    fn remove(&self, id: &str) -> Result<bool, Unavailable> {
        self.memory.remove(id)
    }
    fn origins(&self) -> Vec<OriginView> {
        self.memory.origins()
    }
    fn shared_text(&self, name: &str) -> Option<String> {
        self.texts.lock().get(name).cloned()
    }
    fn replace_shared_text(
        &self,
        name: &str,
        expected: Option<&str>,
        new: &str,
    ) -> Result<(), Option<String>> {
        let mut texts = self.texts.lock();
        let there = texts.get(name).cloned();
        if there.as_deref() != expected {
            return Err(there);
        }
        texts.insert(name.to_owned(), new.to_owned());
        Ok(())
    }
    fn announce_shared_text(&self, name: &str, expected: Option<&str>, new: &str) {
        let _ = self.replace_shared_text(name, expected, new);
    }
    fn shares_texts(&self) -> bool {
        true
    }
}

fn memory() -> Memory {
    Memory::new(Duration::from_secs(300))
}

fn taken(
    timelines: &Timelines,
    balancer: &dyn Balancer,
    origin: &str,
    (first, last): (u64, u64),
) -> Mapping {
    let now = Instant::now();
    let seen = Seen {
        origin: &origin.into(),
        asked: now,
        now,
    };
    match timelines.take(balancer, (&stream("a"), PATH), &seen, &list(first, last)) {
        Step::Goes { mapping, .. } => mapping,
        step => panic!("{step:?}"),
    }
}

#[test]
fn segments_know_the_origin_of_their_epoch() {
    let (timelines, memory) = (Timelines::default(), memory());
    let first = taken(&timelines, &memory, "a", (996, 1000));
    assert_eq!((first.first, first.tag.clone()), (996, None));
    assert_eq!(timelines.origin_of(&stream("a"), None), None);
    let second = taken(&timelines, &memory, "b", (12, 14));
    assert_eq!((second.first, second.mark), (1001, true));
    let origin = |tag: Option<&str>| timelines.origin_of(&stream("a"), tag);
    assert_eq!(origin(None).as_deref(), Some("a"));
    assert_eq!(origin(second.tag.as_deref()).as_deref(), Some("b"));
    assert_eq!(origin(Some("f")), None);
    assert_eq!(timelines.of(&stream("b"), PATH), None);
}

#[test]
fn renditions_of_one_stream_go_on_alike() {
    let (timelines, memory) = (Timelines::default(), memory());
    taken(&timelines, &memory, "a", (996, 1000));
    let one = taken(&timelines, &memory, "b", (12, 14));
    let now = Instant::now();
    let seen = Seen {
        origin: &"b".into(),
        asked: now,
        now,
    };
    let other = timelines.take(
        &memory,
        (&stream("a"), "/live/b.m3u8"),
        &seen,
        &list(12, 15),
    );
    let Step::Goes { mapping, .. } = other else {
        panic!("{other:?}")
    };
    assert_eq!(mapping, one);
}

#[test]
fn proxies_that_share_texts_give_the_same_numbers() {
    let texts: Arc<Mutex<HashMap<String, String>>> = Arc::default();
    let shared = || Shared {
        memory: memory(),
        texts: texts.clone(),
    };
    let proxies = [0; 3].map(|_| (Timelines::default(), shared()));
    let take =
        |proxy: usize, origin, range| taken(&proxies[proxy].0, &proxies[proxy].1, origin, range);
    take(0, "a", (996, 1000));
    take(1, "a", (996, 1000));
    // Only the first one has given out 1001.
    take(0, "a", (997, 1001));
    let by_second = take(1, "b", (12, 14));
    assert_eq!(by_second.first, 1002);
    assert_eq!(take(0, "b", (12, 14)), by_second);
    // One that knew nothing of it, and one that starts anew.
    assert_eq!(take(2, "b", (12, 14)), by_second);
    let anew = (Timelines::default(), shared());
    assert_eq!(taken(&anew.0, &anew.1, "b", (12, 14)), by_second);
    let third = taken(&anew.0, &anew.1, "c", (0, 1));
    assert_eq!((third.first, third.discontinuity), (1005, 1));
    assert_eq!(take(1, "c", (0, 1)), third);
    assert_eq!(take(0, "c", (0, 1)), third);
}

#[test]
fn strangers_cannot_make_it_grow() {
    let (timelines, memory) = (Timelines::default(), memory());
    let (now, many) = (Instant::now(), list(0, 600));
    let seen = Seen {
        origin: &"a".into(),
        asked: now,
        now,
    };
    for number in 0..20_000 {
        let path = format!("/live/{number}.m3u8");
        timelines.take(
            &memory,
            (&stream(&(number / 100).to_string()), &path),
            &seen,
            &many,
        );
        timelines.take(&memory, (&stream(&number.to_string()), PATH), &seen, &many);
    }
    let table = timelines.table.lock();
    let size = |lines: &HashMap<StreamUrl, StreamLines>| -> usize {
        lines.values().map(StreamLines::size).sum()
    };
    let bytes = size(&table.young) + size(&table.old);
    assert!(bytes < 3 * GENERATION, "{bytes}");
    assert!(
        table
            .young
            .values()
            .all(|lines| lines.paths.len() <= MAX_PATHS)
    );
}

#[test]
fn timelines_go_on_in_another_process() {
    let old = Timelines::default();
    let memory = Memory::new(Duration::from_secs(60));
    let take = |lines: &Timelines, origin: &str, first: u64, last: u64| {
        let now = Instant::now();
        let origin = OriginId::from(origin);
        let seen = Seen {
            origin: &origin,
            asked: now,
            now,
        };
        lines.take(&memory, (&stream("a"), PATH), &seen, &list(first, last))
    };
    take(&old, "one", 1000, 1005);
    take(&old, "two", 3, 5); // the first change: an epoch begins
    let before = old.of(&stream("a"), PATH).unwrap();
    assert_eq!((before.epoch.number, before.last), (1, 1008));

    let new = Timelines::default();
    let mut records = old.records();
    records.push(("no stream".to_owned(), PATH.to_owned(), "1".to_owned()));
    new.restore(&records);
    let after = new.of(&stream("a"), PATH).unwrap();
    assert_eq!((&after.epoch, after.last), (&before.epoch, before.last));
    assert_eq!(new.records().len(), 1);
}
