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

/// Gives the calling thread the scheduling policy `SCHED_BATCH` (sched(7)): when the thread wakes up, it does not take
/// the processor from the thread that runs there, but waits its turn, at most a slice of some milliseconds and only where
/// no processor is idle. Returns whether that was done: a policy that an operator has chosen for the process (chrt(1))
/// stays. Threads that the calling thread starts have the policy too, but for those of [`crate::runtime::threads::spawn`].
///
/// Without it each of a hundred requests that come in a burst interrupts the one before it, its origin and its client.
/// Playlists that nobody shares, 64 clients on two processors: from 14 000 to 17 000 a second, 105 to 85 µs of CPU each.
/// Not for threads of connections: hot playlists came to 96 000 a second instead of 80 000, but p99 rose from 2 to 6 ms.
pub fn schedule_as_batch() -> bool {
    change_policy(libc::SCHED_OTHER, libc::SCHED_BATCH)
}

/// Undoes [`schedule_as_batch`] in a thread that has the policy from the one that started it.
pub fn schedule_as_usual() {
    change_policy(libc::SCHED_BATCH, libc::SCHED_OTHER);
}

/// Changes the calling thread's scheduling policy, where it is `from`. Both demand the priority 0.
fn change_policy(from: libc::c_int, to: libc::c_int) -> bool {
    // The system calls themselves: the functions of musl for them do nothing.
    // SAFETY: sched_getscheduler takes a thread's number, 0 being the calling thread's, and no pointer.
    let now = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    if now != libc::c_long::from(from) {
        return false;
    }
    // SAFETY: sched_param is a struct of integers, for which all zeros are a value.
    let priority: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: sched_setscheduler reads one sched_param at the pointer, which is valid during the call. It changes how the
    // thread is scheduled and nothing else. Where it is forbidden the thread stays as it was, which is no fault.
    let done = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, to, &raw const priority) };
    done == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn a_policy_that_somebody_has_chosen_stays() {
        let chosen = std::thread::spawn(|| {
            assert!(change_policy(libc::SCHED_OTHER, libc::SCHED_IDLE));
            schedule_as_batch()
        });
        assert!(!chosen.join().unwrap());
    }

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
