//! Who may come in, over real sockets.

use super::*;
use crate::http::head::{Rejection, RequestHead};
use crate::listener::RequestId;
use std::io::{Read, Write};

/// Nobody gets as far as a request.
struct Nobody;

impl RequestQueue for Nobody {
    fn admit_body(&self, _: &RequestHead) -> Result<(), Rejection> {
        Ok(())
    }

    fn max_chunked(&self, _: &RequestHead) -> Option<usize> {
        None
    }

    fn is_long(&self, _: &RequestHead) -> bool {
        false
    }

    fn enter(&self, _: &Arc<ClientConnection>) -> Result<(), Rejection> {
        Ok(())
    }

    fn refuse(
        &self,
        client: &ClientConnection,
        _: &RequestId,
        _: &Rejection,
        _: Option<&RequestHead>,
    ) {
        client.send_at_once(b"refused");
    }
}

/// What a client reads that sends rubbish.
fn answer(admission: Admission) -> Vec<u8> {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings {
        name: "tests",
        connections: 8,
        idle_timeout: Duration::from_secs(10),
        id_prefix: "t".to_owned(),
        announced_by: None,
        admission,
    };
    let sockets = vec![PublicSocket::new(socket, None).unwrap()];
    let listener = Listener::new(sockets, settings).unwrap();
    let running = listener.clone();
    let accepting =
        thread::spawn(move || running.run(&running.sockets(), &(Arc::new(Nobody) as _)));
    let mut client = TcpStream::connect(listener.address()).unwrap();
    // One who is dropped may be so before this is sent.
    let _ = client.write_all(b"rubbish\r\n\r\n");
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    listener.close(Closing::Release);
    accepting.join().unwrap();
    answer
}

#[test]
fn who_is_not_welcome_is_dropped_before_a_byte_is_read() {
    let only = |is_welcome| Admission::Only {
        is_welcome,
        remedy: "a token is needed",
    };
    assert_eq!(answer(Admission::Everybody), b"refused");
    assert_eq!(answer(only(|peer| peer.is_loopback())), b"refused");
    assert_eq!(answer(only(|peer| !peer.is_loopback())), b"");
}
