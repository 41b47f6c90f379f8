//! SIGUSR2: each viewer is one viewer across it.

use super::hls::{begin, plain, uri};
use super::proxy;
use crate::common::SOON;
use crate::common::answer::Framing;
use crate::common::client::Client;
use crate::common::fetch::get;
use crate::common::flv;
use crate::common::hooks::HookServer;
use crate::common::live::LiveRoute;
use crate::common::wait::wait_until;
use crate::process::upgrade::Successor;
use rustix::process::Signal;

#[test]
fn live_viewers_stop_in_the_old_process_and_sessions_go_on_in_the_new_one() {
    let (origin, hooks) = (plain(), HookServer::start());
    let route = origin.live(
        "/live/a.flv",
        LiveRoute::new(Framing::Chunked, "video/x-flv"),
    );
    let mut proxy = proxy(&origin, &hooks, &[]);
    let mut client = Client::connect(proxy.http);
    client.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(&[flv::opening(), flv::key(0, 1)].concat());
    assert_eq!(client.read_head(SOON).status, 200);
    let (url, media) = begin(&proxy, "/live/a.m3u8");
    proxy.signal(Signal::USR2);
    let successor = Successor::of(&proxy, 1);
    // The new process knows the session: nobody is asked again.
    assert_eq!(get(proxy.http, &url).status(), 200);
    assert_eq!(get(proxy.http, &uri(&media)).status(), 200);
    assert_eq!(hooks.calls("on_play").len(), 2);
    assert_eq!(hooks.calls("on_stop").len(), 0);
    drop(client);
    assert_eq!(proxy.wait_exit(SOON), 0);
    let told = hooks.wait_for("on_stop", 1);
    assert_eq!(
        told[0].body["client_id"],
        hooks.calls("on_play")[0].body["client_id"]
    );
    hooks.wait_balanced(SOON);
    assert!(successor.runs());
    successor.signal(Signal::TERM);
    wait_until("the successor is gone", SOON, || !successor.runs());
    assert!(hooks.unbalanced().is_empty(), "{:?}", hooks.unbalanced());
}
