//! How Redis is reached: a URL with a user, a password, a database; a unix socket; TLS; a password from a file.

use crate::common::proxy::Proxy;
use crate::common::redis::RedisServer;
use crate::common::shared::{ALL, id, key, origin, wait_known, word};
use crate::common::tools;
use serde_json::json;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A proxy with these settings registers an origin and finds a stream there; what it has written is in database `db`.
#[track_caller]
fn works(redis: &RedisServer, password: &str, db: i64, settings: &[(&str, &str)]) {
    let origin = origin("hello");
    let kind = ("PROXY_LOAD_BALANCER_TYPE", "redis");
    let settings: Vec<_> = settings.iter().copied().chain([kind]).collect();
    let proxy = Proxy::start(&settings);
    proxy.register(&origin);
    wait_known(&proxy, 1);
    assert_eq!(word(proxy.http, "/live/a.flv"), "hello");
    let list = redis::cmd("GET")
        .arg(ALL)
        .query::<String>(&mut match password {
            "" => redis::Client::open(format!("redis://{}/{db}", redis.addr()))
                .and_then(|client| client.get_connection())
                .expect("connecting"),
            password => redis.connection_as(password, db),
        });
    let list = list.expect("the list of servers");
    assert_eq!(list, json!([key(&origin)]).to_string(), "{}", id(&origin));
    // Passwords are in no line.
    let lines = proxy.log_lines();
    assert!(
        !lines.iter().any(|line| line.contains("s3cret")),
        "{lines:#?}"
    );
}

#[test]
fn a_url_has_a_user_a_password_and_a_database() {
    let redis = RedisServer::start();
    let user = [
        "ACL", "SETUSER", "proxy", "on", ">s3cret", "~srs-*", "+@all",
    ];
    redis.run::<()>(&user);
    let url = format!("redis://proxy:s3cret@{}/3", redis.addr());
    works(&redis, "", 3, &[("PROXY_REDIS_URL", &url)]);
}

#[test]
fn a_unix_socket_is_a_redis_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("redis.sock");
    let socket = socket.to_str().expect("a path");
    let redis = RedisServer::start_with(&["--unixsocket", socket, "--requirepass", "s3cret"]);
    for scheme in ["redis+unix", "unix"] {
        let url = format!("{scheme}://{socket}?db=2&pass=s3cret");
        redis::cmd("FLUSHALL")
            .query::<()>(&mut redis.connection_as("s3cret", 0))
            .expect("emptying");
        works(&redis, "s3cret", 2, &[("PROXY_REDIS_URL", &url)]);
    }
}

#[test]
fn the_password_may_stand_in_a_file() {
    let redis = RedisServer::start_with(&["--requirepass", "s3cret"]);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("password");
    std::fs::write(&file, "s3cret\n").expect("writing the password");
    let port = redis.addr().port().to_string();
    let settings = [
        ("PROXY_REDIS_PORT", port.as_str()),
        ("PROXY_REDIS_PASSWORD_FILE", file.to_str().expect("a path")),
    ];
    works(&redis, "s3cret", 0, &settings);
}

/// A key and a certificate of its own for 127.0.0.1, as files; `None` where openssl is missing.
fn certificate(directory: &Path) -> Option<[String; 2]> {
    let [key, certificate] = ["key.pem", "cert.pem"].map(|name| {
        let path = directory.join(name);
        path.to_str().expect("a path").to_owned()
    });
    let mut openssl = Command::new("openssl");
    openssl.args(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(' '),
    );
    openssl.args([
        "-subj",
        "/CN=redis",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.args(["-keyout", &key, "-out", &certificate]);
    if Command::new("openssl").arg("version").output().is_err() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED a_url_of_rediss_is_tls: there is no openssl"
        );
        return None;
    }
    tools::output(&mut openssl, Duration::from_secs(60));
    Some([key, certificate])
}

#[test]
fn a_url_of_rediss_is_tls() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some([key, certificate]) = certificate(directory.path()) else {
        return;
    };
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("its address").port().to_string();
    drop(free);
    let redis = RedisServer::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &certificate,
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://127.0.0.1:{port}/1");
    // Its authority is none that the machine knows.
    let settings = [
        ("PROXY_REDIS_URL", url.as_str()),
        ("SSL_CERT_FILE", certificate.as_str()),
    ];
    works(&redis, "", 1, &settings);
}
