//! Certificates from an ACME server (RFC 8555): ordered, kept in files, renewed in time.
//!
//! ```text
//! Store (files) ─► next_action (pure) ─► order (the server) ─► Store ─► Tls::insert
//! ```
//!
//! A certificate that is in the store and still good is used, and nothing is ordered: servers
//! limit how often they issue. A certificate that is served stays until a better one is
//! there, whatever fails. Each domain has a certificate and a schedule of its own, so that
//! one that fails holds up no other.

mod attempts;
mod client;
mod domain;
mod manager;
mod order;
mod schedule;
mod store;

pub use client::{ClientError, DEFAULT_DIRECTORY, REQUEST_TIMEOUT, check_ca, directory_url};
pub use domain::{DomainError, domain};
pub use manager::{Manager, Observer, OpenError, Settings};
pub use order::{Answers, ChallengeKind, HttpAnswers};
pub use schedule::{Action, Failures, Validity, next_action, wait_after};
pub use store::{Store, StoreError};
