//! Certificates by ACME: connects what orders them with where they are used, and tells.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use shared_protocol::{CertificateStatus, EventKind};
use shared_settings::definitions::{ACME_CA, ACME_DIR};
use tracing::{info, warn};

use balancer_acme::{Answers, HttpAnswers, Manager, Observer, OpenError};
use balancer_proxy::AcmeChallenges;
use balancer_state::ClusterState;
use balancer_state::acme::Acme;
use balancer_state::events::Events;

use crate::config::Config;
use crate::sockets::ListenerParts;

/// Uses the certificates that are kept; `None` if none are had by ACME.
///
/// # Errors
/// When nothing can be kept, or no server trusted.
pub(crate) fn open(
    config: &Config,
    parts: &ListenerParts,
    state: &ClusterState,
) -> anyhow::Result<Option<Manager>> {
    let (Some(settings), Some(tls)) = (&config.acme, &parts.tls) else { return Ok(None) };
    let http = Arc::new(Http(Arc::clone(&parts.challenges)));
    let answers = Answers { http, tls: Arc::clone(tls) };
    let teller = Teller { acme: Arc::clone(&state.acme), events: Arc::clone(&state.events) };
    let manager = Manager::open(settings.clone(), answers, Arc::new(teller));
    let manager = manager.map_err(|err| {
        let setting = match err {
            OpenError::Store(_) => &ACME_DIR,
            OpenError::Client(_) => &ACME_CA,
        };
        anyhow::Error::msg(format!("{err} (set {})", setting.names()))
    });
    let manager = manager.context("no certificates by ACME")?;
    for domain in manager.missing() {
        info!(domain, "there is no certificate yet: handshakes for it are refused until it is issued");
    }
    Ok(Some(manager))
}

struct Http(Arc<AcmeChallenges>);

impl HttpAnswers for Http {
    fn insert(&self, token: &str, key_authorization: &str) {
        self.0.insert(token.to_owned(), key_authorization.to_owned());
    }

    fn remove(&self, token: &str) {
        self.0.remove(token);
    }
}

/// Tells what happens: to the log, as an event, and in metrics.
struct Teller {
    acme: Arc<Acme>,
    events: Arc<Events>,
}

impl Teller {
    fn note(&self, text: impl AsRef<str>) {
        self.events.note(EventKind::Certificate, None, None, text);
    }
}

impl Observer for Teller {
    fn loaded(&self, status: &CertificateStatus) {
        let expiry = status.expiry(SystemTime::now());
        info!(name = status.name, source = status.source, "a certificate that was kept is used: it {expiry}");
    }

    fn unusable(&self, reason: &str) {
        let text = format!("what was kept for ACME cannot be used: {reason}");
        warn!("{text}");
        self.note(text);
    }

    fn issued(&self, status: &CertificateStatus) {
        self.acme.add_issued();
        let expiry = status.expiry(SystemTime::now());
        info!(name = status.name, source = status.source, "a new certificate is used: it {expiry}");
        self.note(format!("{} has a new certificate: it {expiry}", status.name));
    }

    fn not_kept(&self, reason: &str) {
        let text = format!("a new certificate is used, and the next start has to order another: {reason}");
        warn!("{text}");
        self.note(text);
    }

    fn failed(&self, domain: &str, reason: &str, wait: Duration) {
        self.acme.add_failed();
        let text = format!(
            "no certificate was issued: {reason}; the next attempt comes in {} seconds",
            wait.as_secs()
        );
        warn!(domain, "{text}");
        self.note(format!("{domain}: {text}"));
    }

    fn postponed(&self, domain: &str, reason: &str, wait: Duration, file: &Path) {
        let text = format!(
            "the last attempt to have a certificate failed: {reason}; the next one comes in {} seconds",
            wait.as_secs()
        );
        warn!(domain, "{text}, or at a start without {}", file.display());
        self.note(format!("{domain}: {text}"));
    }

    fn scheduled(&self, at: SystemTime) {
        self.acme.set_next(at);
    }
}
