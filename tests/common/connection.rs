//! A scripted origin's connections: accepting them, reading requests, writing answers.

use super::SOON;
use super::answer::{Answer, Then};
use super::head;
use super::origin::{Manner, State};
use super::request::Request;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Accepts until `stop` is set and one more connection came.
pub(super) fn accept(state: &Arc<State>, listener: &TcpListener, stop: &AtomicBool) {
    while let Ok((stream, peer)) = listener.accept() {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let _ = stream.set_nodelay(true);
        let _ = stream.set_write_timeout(Some(SOON));
        let stream = Arc::new(stream);
        let mut connections = locked(&state.connections);
        let number = connections.len();
        connections.push(Arc::downgrade(&stream));
        drop(connections);
        let state = Arc::clone(state);
        let small = std::thread::Builder::new().stack_size(256 * 1024);
        small
            .spawn(move || serve(&state, stream, peer, number))
            .expect("a thread for a connection");
    }
}

/// Serves a connection until it ends.
fn serve(state: &State, mut stream: Arc<TcpStream>, peer: SocketAddr, connection: usize) {
    let mut buffer = Vec::new();
    for nth in 0.. {
        let Some(raw) = read_head(&stream, &mut buffer) else {
            break;
        };
        let request = match Request::parse(raw, peer, connection, nth) {
            Ok(request) => request,
            Err(fault) => return locked(&state.faults).push(fault),
        };
        let manner = *locked(&state.manner);
        locked(&state.requests).push(request.clone());
        if nth > 0 && manner == Manner::CloseOnReuse {
            break;
        }
        let handler = locked(&state.routes).get(request.path()).cloned();
        let handler = handler.unwrap_or_else(|| Arc::clone(&locked(&state.fallback)));
        let asked_to_close = request.headers.lists("connection", "close");
        match answer(stream, request.clone(), handler(&request), manner) {
            Some(back) => stream = back,
            None => return,
        }
        match manner {
            Manner::CloseAfter(n) if nth + 1 >= n => break,
            _ if asked_to_close => break,
            Manner::Srs => return wait_for_eof(&stream),
            _ => {}
        }
    }
}

/// Writes one answer; gives the connection back when it goes on.
fn answer(
    stream: Arc<TcpStream>,
    request: Request,
    answer: Answer,
    manner: Manner,
) -> Option<Arc<TcpStream>> {
    let srs = [("Connection", "Close"), ("Server", "SRS/7.0.18(Kai)")];
    let more: &[(&str, &str)] = if manner == Manner::Srs { &srs } else { &[] };
    let then = match answer {
        Answer::Reply(reply) => {
            std::thread::sleep(reply.delay);
            let mut bytes = reply.head(more);
            if request.method != "HEAD" || reply.body_on_head {
                bytes.extend(reply.framed_body());
            }
            (&*stream).write_all(&bytes).ok()?;
            reply.then
        }
        Answer::Raw(bytes, then) => {
            (&*stream).write_all(&bytes).ok()?;
            then
        }
        Answer::CloseWithoutHead => Then::Close,
        Answer::ResetWithoutHead => Then::Reset,
        Answer::Silence => {
            wait_for_eof(&stream);
            Then::Close
        }
        Answer::Live(route) => return route.serve(stream, request, more),
    };
    match then {
        Then::Keep => Some(stream),
        Then::Close => None,
        Then::Reset => {
            let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            None
        }
    }
}

fn wait_for_eof(mut stream: &TcpStream) {
    while stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {}
}

fn read_head(mut stream: &TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = head::end_of_head(buffer) {
            return Some(buffer.drain(..at).collect());
        }
        let mut piece = [0; 16 * 1024];
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(n) => buffer.extend_from_slice(&piece[..n]),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while it was held")
}
