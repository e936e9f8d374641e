//! The server's side of TLS: which certificate a handshake gets, and how certificates are
//! exchanged while handshakes go on.
//!
//! ```text
//! Sources (files) ─► Certificate (read and checked) ─┐
//! Tls::insert (made elsewhere) ──────────────────────┴─► Choice ─► ServerConfig
//! ```
//!
//! Readers never wait: a handshake loads the configuration and the choice of certificates
//! from atomic pointers. A certificate gets there only when it has been read whole, parses,
//! and belongs to its key; what cannot be used is refused, and what was there stays.
//!
//! The versions are TLS 1.2 and 1.3. Early data is not accepted, as it can be replayed
//! (RFC 8446, section 8).

mod certificate;
mod choice;
mod client_ca;
mod directory;
mod files;
mod server;
mod sources;
mod tickets;

#[cfg(test)]
mod test_certificates;

pub use certificate::Certificate;
pub use client_ca::ClientCaError;
pub use directory::DirectoryError;
pub use files::{PairError, PairFiles};
pub use server::{ACME_TLS_ALPN, Reloaded, Tls, TlsError};
pub use sources::{Fingerprint, Sources};
