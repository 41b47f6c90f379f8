//! How much memory a hot playlist asks for: the proxy runs in this process, and its connection's thread is counted.
#![allow(unsafe_code)]

use crate::common::answer::Reply;
use crate::common::hls::live_id;
use crate::common::origin::Origin;
use srs_stream_proxy::app::Proxy;
use srs_stream_proxy::app::inherited::Inherited;
use srs_stream_proxy::config::{Command, parse_from};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The system's allocator, which counts what threads of connections ask for.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IS_CONNECTION: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTS.load(Ordering::Relaxed) && is_connection() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

fn is_connection() -> bool {
    IS_CONNECTION.get() || {
        let mut name = [0_u8; 16];
        // SAFETY: PR_GET_NAME writes at most 16 bytes, with their NUL, to the buffer (prctl(2)).
        unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
        let found = name.starts_with(b"connection\0");
        IS_CONNECTION.set(found);
        found
    }
}

// SAFETY: each call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Asks once more on the connection, without an allocation of its own; returns the allocations of the proxy.
fn ask(client: &mut TcpStream, request: &[u8], end: &[u8]) -> usize {
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    client.write_all(request).expect("sending");
    let mut buffer = [0; 4096];
    let mut got = 0;
    while !buffer[..got].ends_with(end) {
        let more = client.read(&mut buffer[got..]).expect("reading");
        assert!(more > 0, "the proxy closed: {:?}", &buffer[..got]);
        got += more;
    }
    // The record is logged before the next head is read.
    ALLOCATIONS.load(Ordering::SeqCst) - before
}

#[test]
fn what_is_hot_allocates_three_times_at_most() {
    let _alone = crate::common::alone();
    let origin = Origin::start();
    let playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na-1.ts\n";
    origin.on("/live/a.m3u8", Reply::playlist(playlist));
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", "media"));
    let port = origin.port().to_string();
    let settings = [
        ("PROXY_HTTP_SERVER", "127.0.0.1:0"),
        ("PROXY_SYSTEM_API", "127.0.0.1:0"),
        ("PROXY_DEFAULT_BACKEND_ENABLED", "on"),
        ("PROXY_DEFAULT_BACKEND_HTTP", &port),
    ];
    let settings = settings.map(|(name, value)| (name.into(), value.into()));
    let command = parse_from(["proxy".into()], settings, || Ok(None));
    let Ok(Command::Proxy(config)) = command else {
        panic!("{command:?}")
    };
    srs_stream_proxy::logging::init(log::LevelFilter::Info, config.log_format).expect("a log");
    let proxy = Proxy::start(&config, Inherited::default()).expect("a proxy");
    let mut client = TcpStream::connect(proxy.players_address()).expect("connecting");
    let segment = format!("/live/a-1.ts?spbhid={}", live_id("a"));
    for (target, end) in [("/live/a.m3u8", &b"\n"[..]), (&segment, b"media")] {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n"
        );
        ask(&mut client, request.as_bytes(), end);
        COUNTS.store(true, Ordering::SeqCst);
        // The count runs on while this thread looks: in the middle, and not each for itself. A playlist is kept for half a
        // second: now and then one of them comes from the origin.
        let mut counts: Vec<usize> = (0..20)
            .map(|_| {
                (0..10)
                    .map(|_| ask(&mut client, request.as_bytes(), end))
                    .sum()
            })
            .collect();
        COUNTS.store(false, Ordering::SeqCst);
        counts.sort_unstable();
        assert!(
            (10..=30).contains(&counts[10]),
            "{target}, for ten each: {counts:?}"
        );
    }
    drop(client);
    proxy.stop();
}
