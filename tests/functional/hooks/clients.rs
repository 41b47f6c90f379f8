//! Viewers one by one, in SRS's form, and ending one of them.

use super::proxy;
use crate::common::SOON;
use crate::common::answer::{Framing, Reply};
use crate::common::client::Client;
use crate::common::fetch::{get, post};
use crate::common::flv;
use crate::common::hooks::HookServer;
use crate::common::live::LiveRoute;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_for;
use serde_json::{Value, json};

fn clients(proxy: &Proxy, query: &str) -> Vec<Value> {
    let told = get(proxy.api, &format!("/api/v1/clients{query}")).json();
    assert_eq!(told["code"], 0);
    told["clients"].as_array().expect("clients").clone()
}

fn kick(proxy: &Proxy, id: &str) -> u16 {
    post(proxy.api, &format!("/api/v1/clients/{id}/kick"), &[], b"").status()
}

#[test]
fn live_and_hls_viewers_are_listed_as_srs_lists_them_and_kicked_by_the_id_of_their_hooks() {
    let (origin, hooks) = (Origin::start(), HookServer::start());
    let route = origin.live(
        "/live/a.flv",
        LiveRoute::new(Framing::Chunked, "video/x-flv"),
    );
    let media = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\na-1.m4s\n";
    origin.on("/live/a.m3u8", Reply::playlist(media));
    origin.on("/live/a-1.m4s", Reply::ok("video/iso.segment", "segment"));
    let proxy = proxy(&origin, &hooks, &[]);
    let mut client = Client::connect(proxy.http);
    client.request("GET", "/live/a.flv", &[]);
    route
        .next()
        .send(&[flv::opening(), flv::key(0, 1)].concat());
    assert_eq!(client.read_head(SOON).status, 200);
    let live = wait_for("it is listed", SOON, || clients(&proxy, "").pop());
    let master = get(proxy.http, "/live/a.m3u8").text();
    let url = format!(
        "/live/{}",
        master.lines().last().unwrap().trim_start_matches("./")
    );
    let media = get(proxy.http, &url).text();
    let segment = format!("/live/{}", media.lines().last().unwrap());
    assert_eq!(get(proxy.http, &segment).status(), 200);

    let all = clients(&proxy, "");
    assert_eq!(all.len(), 2);
    let asked = hooks.calls("on_play");
    for (client, kind, asked) in [
        (&live, "flv-play", &asked[0]),
        (&all[1], "hls-play", &asked[1]),
    ] {
        assert_eq!(client["id"], asked.body["client_id"]);
        assert_eq!(client["stream"], asked.body["stream_id"]);
        let fields = ["type", "ip", "vhost", "url", "name", "publish"].map(|it| &client[it]);
        let expected = [
            json!(kind),
            json!("127.0.0.1"),
            json!("__defaultVhost__"),
            json!("/live/a"),
            json!("a"),
            json!(false),
        ];
        assert_eq!(fields, expected.each_ref());
        assert!(
            client["alive"].is_f64() && client["kbps"]["send_30s"].is_u64(),
            "{client}"
        );
    }
    assert!(all[1]["send_bytes"].as_u64() > Some(7), "{}", all[1]);
    assert!(
        !all[1].to_string().contains(url.rsplit('=').next().unwrap()),
        "a session's id is a secret"
    );
    let second = clients(&proxy, "?start=1&count=5");
    assert_eq!((second.len(), &second[0]["id"]), (1, &all[1]["id"]));
    assert_eq!(clients(&proxy, "?count=1").len(), 1);
    assert_eq!(clients(&proxy, "?start=9"), [] as [Value; 0]);
    assert_eq!(
        clients(&proxy, "?stream=__defaultVhost__/live/b"),
        [] as [Value; 0]
    );
    assert_eq!(get(proxy.api, "/api/v1/clients?count=-1").status(), 400);
    let told = get(proxy.api, "/api/v1/clients?count=1").json();
    assert_eq!(told["data"]["more"], 1, "for the console");
    assert_eq!(told["server"], asked[0].body["server_id"]);

    assert_eq!(kick(&proxy, "nobody"), 404);
    assert_eq!(get(proxy.api, "/api/v1/clients/x/kick").status(), 405);
    assert_eq!(kick(&proxy, &asked[0].text("client_id")), 200);
    client.read_rest(SOON);
    assert_eq!(kick(&proxy, &asked[1].text("client_id")), 200);
    hooks.wait_balanced(SOON);
    assert_eq!(kick(&proxy, &asked[1].text("client_id")), 404, "it is gone");
    assert_eq!(get(proxy.http, &segment).status(), 403);
    assert_eq!(get(proxy.http, &url).status(), 403);
    assert_eq!(
        hooks.calls("on_play").len(),
        2,
        "its session is refused without a call"
    );
    assert_eq!(clients(&proxy, ""), [] as [Value; 0]);
    // It may come again, as a new viewer.
    assert_eq!(get(proxy.http, "/live/a.m3u8").status(), 200);
    assert_eq!(hooks.calls("on_play").len(), 3);
}
