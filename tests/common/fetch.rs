//! One request on a connection of its own.

use super::SOON;
use super::client::Client;
use super::response::Response;
use std::net::SocketAddr;

/// One GET on a connection of its own.
#[track_caller]
pub fn get(server: SocketAddr, target: &str) -> Response {
    fetch(server, "GET", target, &[])
}

/// One GET with headers on a connection of its own.
#[track_caller]
pub fn get_with(server: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Response {
    fetch(server, "GET", target, headers)
}

/// One HTTP/1.0 GET, as old players send it, with headers.
#[track_caller]
pub fn get10(server: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Response {
    let mut client = Client::connect(server);
    client.request10("GET", target, headers);
    let response = client.read_response(SOON);
    client.expect_closed(SOON);
    response
}

/// One request with `Connection: close`: reads the whole response, and sees the connection end after it.
#[track_caller]
pub fn fetch(server: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    let mut client = Client::connect(server);
    let mut all = headers.to_vec();
    all.push(("Connection", "close"));
    client.request(method, target, &all);
    let response = client.read_response(SOON);
    client.expect_closed(SOON);
    response
}

/// One POST of `body` on a connection of its own.
#[track_caller]
pub fn post(server: SocketAddr, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let mut client = Client::connect(server);
    let length = body.len().to_string();
    let mut all = headers.to_vec();
    all.extend([("Content-Length", length.as_str()), ("Connection", "close")]);
    client.request("POST", target, &all);
    client.send(body);
    client.read_response(SOON)
}

/// Sends raw bytes on a connection of its own and reads the response to them.
#[track_caller]
pub fn send_raw(server: SocketAddr, bytes: &[u8]) -> Response {
    let mut client = Client::connect(server);
    client.send(bytes);
    client.read_response(SOON)
}
