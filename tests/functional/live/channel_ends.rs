//! How a channel ends: whole where its origin says so, else visibly broken off, for every viewer.

use super::viewer::Viewer;
use crate::common::answer::Framing;
use crate::common::body::BodyEnd;
use crate::common::client::Client;
use crate::common::flv::{inter, key, opening};
use crate::common::live::LiveRoute;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::{ABOUT_A_SECOND, SOON};

#[test]
fn an_end_is_what_the_origin_made_it() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[("PROXY_LIVE_RESUME", "0s")]);
    for framing in [Framing::Chunked, Framing::UntilClose] {
        for how in ["finish", "close", "reset", "torn"] {
            let is_whole = how == "finish" || (how == "close" && framing == Framing::UntilClose);
            if how == "torn" && framing == Framing::UntilClose {
                continue; // there is no telling
            }
            let case = format!("{framing:?}, {how}");
            let route = origin.live("/live/a.flv", LiveRoute::new(framing, "video/x-flv"));
            let first = Viewer::ask(proxy.http, "/live/a.flv");
            let mut live = route.next();
            live.send(&opening());
            live.send(&key(0, 1));
            let mut first = Viewer::of(first);
            first.expect_frames([1]);
            let new = Viewer::join(proxy.http, "/live/a.flv");
            let mut old = Client::connect(proxy.http);
            old.request10("GET", "/live/a.flv", &[]);
            let mut viewers = [new, Viewer::of(old)];
            viewers
                .iter_mut()
                .for_each(|viewer| viewer.expect_frames([1]));
            match how {
                "finish" => live.finish(),
                "close" => live.close(),
                "reset" => live.reset(),
                _ => {
                    live.send(&inter(40, 2)[..50]);
                    live.close();
                }
            }
            let [new, old] = viewers;
            for (viewer, is_old) in [(first, false), (new, false), (old, true)] {
                let (tags, end) = viewer.rest(ABOUT_A_SECOND);
                assert!(tags.is_empty(), "{case}: something was appended");
                assert_eq!(end == BodyEnd::Complete, is_whole, "{case}: {end:?}");
                if is_old && !is_whole {
                    assert_eq!(end, BodyEnd::Reset, "{case}: a FIN would look like the end");
                }
            }
        }
    }
    proxy.assert_no_panic();
}

#[test]
fn a_whole_stream_leaves_its_connections_for_the_next() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[]);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(proxy.http)).collect();
    for fill in 0..4 {
        clients
            .iter_mut()
            .for_each(|client| client.request("GET", "/live/a.flv", &[]));
        let mut live = route.next();
        live.send(&opening());
        live.send(&key(0, fill));
        let mut viewers: Vec<Viewer> = clients.drain(..).map(Viewer::of).collect();
        viewers
            .iter_mut()
            .for_each(|viewer| viewer.expect_frames([fill]));
        live.finish();
        for mut viewer in viewers {
            assert_eq!(viewer.client.read_rest(SOON), (vec![], BodyEnd::Complete));
            clients.push(viewer.client);
        }
    }
    assert_eq!(origin.requests().len(), 4);
    proxy.assert_no_panic();
}
