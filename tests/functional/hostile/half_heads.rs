//! Heads that never become whole take connections, and must not keep heartbeats out.

use crate::common::ABOUT_A_SECOND;
use crate::common::client::Client;
use crate::common::fetch::get;
use crate::common::hostile::raise_descriptors;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use std::time::Instant;

#[test]
fn six_hundred_half_heads_do_not_delay_a_heartbeat() {
    raise_descriptors();
    let origin = Origin::start();
    let proxy = Proxy::start(&[]);
    // More than twice as many as the System API has connections; a head may take ten seconds.
    let mut half: Vec<_> = (0..600).map(|_| Client::connect(proxy.api)).collect();
    for client in &mut half {
        // Those who were dropped already have made room.
        let _ = client.try_send(b"POST /api/v1/srs/register HTTP/1.1\r\nHost: 127");
    }
    let begin = Instant::now();
    proxy.register(&origin);
    assert_eq!(get(proxy.api, "/healthz").status(), 200);
    assert!(
        begin.elapsed() < ABOUT_A_SECOND * 2,
        "{:?}",
        begin.elapsed()
    );
    drop(half);
}
