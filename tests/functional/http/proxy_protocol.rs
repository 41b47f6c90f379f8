//! The PROXY protocol: whose connection a load balancer relays.

use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::client::Client;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n";

fn v2() -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 0, 80];
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &addresses[..]].concat()
}

fn origin() -> Origin {
    let origin = Origin::start();
    origin.on("/live/a.flv", Reply::new(200).body("media"));
    origin
}

#[test]
fn the_address_in_the_header_is_the_viewers() {
    let origin = origin();
    let proxy = Proxy::before(&origin, &[("PROXY_PROTOCOL", "on")]);
    for header in [V1.to_vec(), v2()] {
        let mut client = Client::connect(proxy.http);
        // In pieces, and with the request right behind it.
        client.send(&header[..5]);
        let request =
            b"GET /live/a.flv HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n";
        client.send(&[&header[5..], request].concat());
        client.expect_answer_to("GET");
        assert_eq!(client.read_response(SOON).text(), "media");
        let asked = origin.last_request();
        // The player is no trusted proxy: what it says of others counts for nothing.
        assert_eq!(asked.headers.one("x-forwarded-for"), "192.0.2.7");
        assert_eq!(asked.headers.one("x-real-ip"), "192.0.2.7");
        // The header comes once a connection.
        assert_eq!(client.get("/live/a.flv", &[]).text(), "media");
    }
    proxy.wait_for_log(
        |line| line.contains(" 192.0.2.7:4711 GET /live/a.flv 200 "),
        SOON,
    );
}

#[test]
fn a_health_check_of_the_load_balancer_itself_is_answered() {
    let proxy = Proxy::start(&[("PROXY_PROTOCOL", "on")]);
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut client = Client::connect(proxy.http);
        client.send(header);
        assert_eq!(client.get("/api/v1/versions", &[]).status(), 200);
    }
}

#[test]
fn without_a_header_or_with_a_malformed_one_the_connection_is_closed() {
    let proxy = Proxy::start(&[("PROXY_PROTOCOL", "on"), ("PROXY_IDLE_TIMEOUT", "1s")]);
    for bad in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"PROXY TCP4 nobody 10.0.0.1 4711 80\r\n",
        b"PROXY TCP4 192.0.2.7", // and nothing more
        b"",
    ] {
        let mut client = Client::connect(proxy.http);
        client.send(bad);
        assert_eq!(client.read_until_closed(SOON), b"", "{bad:?}");
    }
    proxy.wait_for_log(
        |line| line.contains("WARN") && line.contains("malformed"),
        SOON,
    );
    proxy.wait_for_log(|line| line.contains("did not arrive in time"), SOON);
}

#[test]
fn only_trusted_peers_may_tell() {
    let proxy = Proxy::start(&[
        ("PROXY_PROTOCOL", "on"),
        ("PROXY_TRUSTED_PROXIES", "10.0.0.0/8"),
    ]);
    let mut client = Client::connect(proxy.http);
    let _ = client.try_send(&[V1, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
    assert_eq!(client.read_until_closed(SOON), b"");
    let line = proxy.wait_for_log(|line| line.contains("PROXY protocol"), SOON);
    assert!(line.contains("PROXY_TRUSTED_PROXIES"), "{line}");
}

#[test]
fn where_it_is_off_a_header_is_no_request() {
    let proxy = Proxy::start(&[]);
    let mut client = Client::connect(proxy.http);
    client.send(&[V1, b"\r\n"].concat());
    client.expect_answer_to("GET");
    assert_eq!(client.read_head(SOON).status, 400);
}
