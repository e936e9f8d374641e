//! An upgrade: a running cluster is succeeded by a new one that serves the same sockets.

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};

/// A word of a command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Word {
    Text(String),
    /// One that is not UTF-8, as paths need not be.
    Bytes(Vec<u8>),
}

impl From<OsString> for Word {
    fn from(word: OsString) -> Self {
        word.into_string().map_or_else(|word| Self::Bytes(word.as_bytes().to_vec()), Self::Text)
    }
}

impl From<Word> for OsString {
    fn from(word: Word) -> Self {
        match word {
            Word::Text(text) => text.into(),
            Word::Bytes(bytes) => Self::from_vec(bytes),
        }
    }
}

/// `POST /upgrade`: which program succeeds the cluster, and with which arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Upgrade {
    /// A path; by default the one by which the cluster was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<Word>,
    /// By default those with which the cluster was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Vec<Word>>,
}

/// The first line from a cluster to its successor. Fields are only ever added, as the two
/// may be of different versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handover {
    pub version: String,
    pub pid: u32,
    /// The sockets of clients belong to whoever has started the first cluster, as a service
    /// manager does, and not to the cluster.
    pub are_inherited: bool,
    /// Where the embedded store is, if it goes away with the cluster.
    #[serde(default)]
    pub temporary_state: Option<String>,
    /// The files of these sockets go away with the cluster.
    #[serde(default)]
    pub files: Vec<String>,
    /// So does the directory of the control socket.
    #[serde(default)]
    pub owns_control_directory: bool,
    /// The inode of a pipe that a successor has for standard error until it has read this, which
    /// comes with a descriptor of the real one.
    #[serde(default)]
    pub stderr_pipe: Option<u64>,
    /// How many workers there are to be.
    #[serde(default)]
    pub workers: Option<usize>,
    /// How many the configuration asks for; none where the load chooses the number.
    #[serde(default)]
    pub configured_workers: Option<usize>,
    /// What sticky cookies are signed with, where nobody has chosen a secret.
    #[serde(default)]
    pub sticky_secret: Option<Secret>,
    /// By which clients resume their TLS sessions.
    #[serde(default)]
    pub tickets: Option<Tickets>,
    /// Requests are answered 503, and clients may try again after so many seconds.
    #[serde(default)]
    pub maintenance_retry_after: Option<u32>,
}

/// The response to `POST /stop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    pub pid: u32,
    /// Ends as well: it was about to succeed the other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<u32>,
    /// It has done so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub succeeded: bool,
}

/// Keys of session tickets, the current one first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tickets {
    /// A digest of the authorities that sign certificates of clients, if there are any: sessions
    /// of other ones' clients are not resumed.
    #[serde(default)]
    pub client_ca: Option<Secret>,
    pub keys: Vec<TicketKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TicketKey {
    pub name: Secret,
    pub key: Secret,
    /// Seconds.
    pub age: u64,
}

/// Bytes that are shown to nobody.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(bytes: &[u8]) -> Self {
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Self(hex)
    }

    /// `None` when it is not of this form.
    pub fn expose(&self) -> Option<Vec<u8>> {
        let digits = self.0.as_bytes();
        let is_hex = digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        if is_hex { digits.chunks(2).map(byte).collect() } else { None }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The one word from a cluster to its successor after that, on a line.
pub const TAKE_OVER: &str = "takeOver";

/// What a successor tells, one JSON object on each line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
pub enum SuccessorMessage {
    /// It has read its configuration and has its sockets. A worker of it is given up after
    /// `startup_ms` milliseconds.
    #[serde(rename_all = "camelCase")]
    Configured { version: String, workers: usize, startup_ms: u64 },
    /// So many of its workers are ready.
    Online { online: usize, workers: usize },
    /// All of them are: it waits for [`TAKE_OVER`].
    Ready,
    /// It accepts connections.
    Serving {
        /// Files of sockets and a directory of state, of those that the predecessor had, which
        /// go on being used; older versions do not tell, and mean all of them.
        #[serde(default)]
        keeps: Option<Vec<String>>,
    },
    /// It will not come to that.
    #[serde(rename_all = "camelCase")]
    Failed {
        reason: String,
        #[serde(default)]
        last_lines: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_any_bytes_and_read_back() {
        let words = [OsString::from("a\nb \"ä"), OsString::from_vec(vec![b'/', 0xff, b'x'])];
        let json = serde_json::to_string(&words.clone().map(Word::from)).unwrap();
        assert_eq!(json, r#"["a\nb \"ä",[47,255,120]]"#);
        let back: Vec<Word> = serde_json::from_str(&json).unwrap();
        assert_eq!(back.into_iter().map(OsString::from).collect::<Vec<_>>(), words);
    }

    #[test]
    fn secrets_read_back_and_are_not_shown() {
        let secret = Secret::new(&[0, 0x7f, 0xff]);
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"007fff\"");
        assert_eq!(secret.expose(), Some(vec![0, 0x7f, 0xff]));
        assert_eq!(format!("{secret:?}"), "Secret");
        for bad in ["0", "0g", "+1", "ä0"] {
            assert_eq!(Secret(bad.to_owned()).expose(), None, "{bad}");
        }
    }
}
