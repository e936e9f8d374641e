//! The `Connection` field.

use crate::syntax;

/// What the `Connection` fields say (RFC 9110, section 7.6.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ConnectionOptions {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// They name fields that end at this connection, other than those that always do.
    pub(crate) nominates: bool,
}

impl ConnectionOptions {
    /// Adds the options of one `Connection` field.
    pub(crate) fn read(&mut self, value: &[u8]) {
        for option in syntax::list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if !option.eq_ignore_ascii_case(b"te") {
                self.nominates = true;
            }
        }
    }
}
