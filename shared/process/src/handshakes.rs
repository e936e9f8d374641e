//! Keeps a listening TCP socket from beginning handshakes, while it completes those that it has
//! begun: what it needs to be closed, or left, without a connection in its queue that is reset.
//!
//! A filter (socket(7), SO_ATTACH_FILTER) drops segments that open a connection. Their senders
//! repeat them after a second (RFC 6298, section 2), and whoever listens then gets them.

use std::io;
use std::net::TcpListener;

use socket2::{SockFilter, SockRef};

/// Offset of the flags in a TCP header (RFC 9293, section 3.1).
const FLAGS: u32 = 13;
const SYN_AND_ACK: u32 = 0x12;
const SYN: u32 = 0x02;

/// From now on `listener` begins no handshake.
///
/// # Errors
/// When the system refuses the filter.
pub fn hold(listener: &TcpListener) -> io::Result<()> {
    // Codes as linux/bpf_common.h has them.
    let filter = [
        SockFilter::new(0x30, 0, 0, FLAGS),       // load a byte
        SockFilter::new(0x54, 0, 0, SYN_AND_ACK), // and
        SockFilter::new(0x15, 0, 1, SYN),         // jump by one unless equal
        SockFilter::new(0x06, 0, 0, 0),           // drop it
        SockFilter::new(0x06, 0, 0, u32::MAX),    // let all of it pass
    ];
    SockRef::from(listener).attach_filter(&filter)
}

/// It begins handshakes again.
///
/// # Errors
/// When it was not held, or the system refuses.
pub fn release(listener: &TcpListener) -> io::Result<()> {
    SockRef::from(listener).detach_filter()
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_held_socket_keeps_what_it_has_and_gets_nothing_new_until_it_is_released() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100));
        let _waits = connect().unwrap();
        hold(&listener).unwrap();
        assert_eq!(connect().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(listener.accept().is_ok(), "the one that had come before");
        assert!(listener.accept().is_err());
        release(&listener).unwrap();
        let _comes = connect().unwrap();
        assert!(listener.accept().is_ok());
    }
}
