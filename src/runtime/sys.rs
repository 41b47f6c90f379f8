//! The one place with `unsafe`: what the system offers and no safe crate does.
#![allow(unsafe_code)]

use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Gives free pages of the allocator back to the system (malloc_trim(3)). By itself it keeps what is free between
/// two pieces that are not: after a crowd of 200 players of all kinds 30 MB, of which 0.8 MB was in use. It takes some
/// milliseconds and holds up those who allocate meanwhile. No effect with another C library.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim takes a number and no pointer, may be called at any time by any thread, and touches
        // nothing that is allocated.
        let _ = unsafe { libc::malloc_trim(0) };
    }
}

/// The bytes that the kernel still holds for this peer: not sent yet, or sent and not acknowledged
/// (`SIOCOUTQ`, tcp(7)). It shrinks exactly when the peer takes something. `None` where the kernel
/// does not say.
pub fn unacknowledged(socket: &TcpStream) -> Option<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as the borrow of `socket` lives, and SIOCOUTQ
    // (the same number as TIOCOUTQ) writes one int to the pointer that it is given, which is valid
    // and exclusively ours.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    (done == 0).then(|| u64::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn it_shrinks_when_the_peer_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        while near.write(&[0; 65536]).is_ok() {}
        let full = unacknowledged(&near).unwrap();
        assert!(full > 0);
        let mut taken = vec![0; 1 << 20];
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while unacknowledged(&near).unwrap() >= full {
            assert!(std::time::Instant::now() < end, "still {full} bytes");
            let _ = far.read(&mut taken).unwrap();
        }
    }
}
