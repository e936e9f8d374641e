//! Why a request failed, in the classes that a report counts.

use std::io;

use serde::{Deserialize, Serialize};
use shared_tls_client::words;

/// What kind of failure it was, and on whose side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorClass {
    /// Nobody listens at the address.
    Refused,
    /// No connection within the timeout.
    ConnectTimeout,
    /// The connection could not be made for another reason.
    ConnectFailed,
    /// This machine has no free local port left for the destination.
    LocalPorts,
    /// This process may not open more files.
    LocalFiles,
    /// TLS failed: its handshake, or later by an alert.
    Tls,
    /// The connection was reset while a request was on it.
    Reset,
    /// The connection ended before the response was complete.
    EarlyClose,
    /// HTTP/2: the server gave up the connection with GOAWAY.
    GoAway,
    /// HTTP/2: the server gave up the stream with RST_STREAM.
    StreamReset,
    /// No complete response within the timeout.
    Timeout,
    /// What came back is not HTTP, or its framing contradicts itself.
    Malformed,
    /// The response is complete, its body is not what was declared or expected.
    WrongBody,
    /// A complete response with a status from 400 to 499.
    Status4xx,
    /// A complete response with a status from 500 up.
    Status5xx,
}

impl ErrorClass {
    pub const ALL: [Self; 15] = [
        Self::Refused,
        Self::ConnectTimeout,
        Self::ConnectFailed,
        Self::LocalPorts,
        Self::LocalFiles,
        Self::Tls,
        Self::Reset,
        Self::EarlyClose,
        Self::GoAway,
        Self::StreamReset,
        Self::Timeout,
        Self::Malformed,
        Self::WrongBody,
        Self::Status4xx,
        Self::Status5xx,
    ];

    /// As people read it in a report.
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::ConnectTimeout => "connect timeout",
            Self::ConnectFailed => "connect failed",
            Self::LocalPorts => "out of local ports",
            Self::LocalFiles => "out of file descriptors",
            Self::Tls => "TLS",
            Self::Reset => "connection reset",
            Self::EarlyClose => "closed early",
            Self::GoAway => "HTTP/2 GOAWAY",
            Self::StreamReset => "HTTP/2 RST_STREAM",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed response",
            Self::WrongBody => "wrong body",
            Self::Status4xx => "status 4xx",
            Self::Status5xx => "status 5xx",
        }
    }

    /// The load generator's own machine ran out of something: the target is
    /// not to blame, and the figures are not its limit.
    pub fn is_local(self) -> bool {
        matches!(self, Self::LocalPorts | Self::LocalFiles)
    }

    /// No connection was made, so that trying again at once would only spin.
    pub fn is_connect(self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::ConnectTimeout
                | Self::ConnectFailed
                | Self::LocalPorts
                | Self::LocalFiles
                | Self::Tls
        )
    }

    /// The class of a complete response; `None` for success (below 400).
    pub fn of_status(status: u16) -> Option<Self> {
        match status {
            0..400 => None,
            400..500 => Some(Self::Status4xx),
            _ => Some(Self::Status5xx),
        }
    }
}

/// One failed request: its class, and what exactly happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", class.label())]
pub struct Failure {
    pub class: ErrorClass,
    pub detail: String,
    /// The server has not taken the request, for sure: it may be sent again, whatever
    /// its method (RFC 9110, section 9.2.2; RFC 9113, section 8.7).
    pub is_unprocessed: bool,
}

impl Failure {
    pub fn new(class: ErrorClass, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into(), is_unprocessed: false }
    }

    pub fn unprocessed(self) -> Self {
        Self { is_unprocessed: true, ..self }
    }

    /// What an error of `connect` means. Error numbers: connect(2), socket(2).
    pub fn connecting(err: &io::Error) -> Self {
        let class = match err.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ErrorClass::Refused,
            io::ErrorKind::TimedOut => ErrorClass::ConnectTimeout,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => ErrorClass::LocalPorts,
            _ if is_out_of_files(err) => ErrorClass::LocalFiles,
            _ => ErrorClass::ConnectFailed,
        };
        Self::new(class, describe(err))
    }

    /// What an error of a read or a write on a made connection means.
    pub fn exchanging(err: &io::Error) -> Self {
        let class = match err.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => ErrorClass::Reset,
            io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => ErrorClass::EarlyClose,
            io::ErrorKind::TimedOut => ErrorClass::Timeout,
            io::ErrorKind::InvalidData => ErrorClass::Tls,
            _ => ErrorClass::Reset,
        };
        Self::new(class, words::of_io(err).unwrap_or_else(|| describe(err)))
    }

    pub fn timeout(after: std::time::Duration) -> Self {
        Self::new(
            ErrorClass::Timeout,
            format!("no complete response within {}", humantime::format_duration(after)),
        )
    }
}

fn is_out_of_files(err: &io::Error) -> bool {
    let code = err.raw_os_error();
    code == Some(rustix::io::Errno::MFILE.raw_os_error())
        || code == Some(rustix::io::Errno::NFILE.raw_os_error())
}

/// The system's words without Rust's "(os error N)", lower case.
pub fn describe(err: &io::Error) -> String {
    let text = err.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_land_in_their_class() {
        let class = |errno: rustix::io::Errno| {
            Failure::connecting(&io::Error::from_raw_os_error(errno.raw_os_error()))
        };
        assert_eq!(class(rustix::io::Errno::CONNREFUSED).class, ErrorClass::Refused);
        assert_eq!(class(rustix::io::Errno::ADDRNOTAVAIL).class, ErrorClass::LocalPorts);
        assert_eq!(class(rustix::io::Errno::MFILE).class, ErrorClass::LocalFiles);
        assert_eq!(class(rustix::io::Errno::HOSTUNREACH).class, ErrorClass::ConnectFailed);
        assert_eq!(class(rustix::io::Errno::CONNREFUSED).detail, "connection refused");
        assert_eq!(Failure::exchanging(&io::ErrorKind::BrokenPipe.into()).class, ErrorClass::EarlyClose);
    }

    #[test]
    fn statuses_from_400_are_failures() {
        assert_eq!(ErrorClass::of_status(200), None);
        assert_eq!(ErrorClass::of_status(304), None);
        assert_eq!(ErrorClass::of_status(404), Some(ErrorClass::Status4xx));
        assert_eq!(ErrorClass::of_status(503), Some(ErrorClass::Status5xx));
    }
}
