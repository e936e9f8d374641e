//! The configuration of TLS sessions, and the exchange of what is in it.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use ring::digest;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use shared_protocol::{CertificateStatus, Secret, Tickets as HandedOn};

use crate::certificate::{Certificate, provider};
use crate::choice::Choice;
use crate::client_ca::{self, ClientCaError};
use crate::directory::DirectoryError;
use crate::files::{PairError, PairFiles};
use crate::sources::{Fingerprint, Sources};
use crate::tickets::{NoRandom, Tickets};

/// The protocol by which an ACME server looks whether a domain is ours (RFC 8737, section 4).
pub const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Pair(#[from] PairError),
    #[error(transparent)]
    ClientCa(#[from] ClientCaError),
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// What has become of a reload.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// Certificates that handshakes get from now on and did not get before.
    pub fresh: Vec<CertificateStatus>,
    /// Why something was refused. What it was to replace stays.
    pub refused: Vec<String>,
}

type Publish = Box<dyn Fn(Vec<CertificateStatus>) + Send + Sync>;

/// The server's side of TLS. Handshakes ask for [`Self::config`]; everything else here
/// exchanges what the next one gets.
pub struct Tls {
    sources: Sources,
    resolver: Arc<Resolver>,
    config: ArcSwap<ServerConfig>,
    /// Held by who changes something, never by handshakes.
    state: Mutex<State>,
    publish: Publish,
}

/// What the choice and the configuration were made of.
struct State {
    files: Vec<(PairFiles, Certificate)>,
    /// Certificates that come from elsewhere, by a name that their owner has chosen.
    inserted: Vec<(String, Certificate)>,
    challenges: HashMap<String, Arc<CertifiedKey>>,
    /// The content of the file.
    client_ca: Option<Vec<u8>>,
    /// Sessions of clients are resumed by these.
    tickets: Arc<Tickets>,
    fingerprint: Option<Fingerprint>,
}

impl Tls {
    /// Reads all certificates. `protocols` are those of ALPN, the preferred one first.
    /// `publish` is called with all certificates whenever they have changed, and now.
    ///
    /// # Errors
    /// When something that is named cannot be used.
    pub fn new(
        sources: Sources,
        protocols: Vec<Vec<u8>>,
        publish: impl Fn(Vec<CertificateStatus>) + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let fingerprint = Some(sources.fingerprint());
        let read = |pair: PairFiles| pair.read().map(|certificate| (pair, certificate));
        let files = sources.list()?.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let client_ca = sources.client_ca.as_deref().map(crate::files::read).transpose();
        let client_ca = client_ca.map_err(ClientCaError::from)?;
        let resolver = Arc::new(Resolver::default());
        let tickets = Arc::new(Tickets::new()?);
        let config = config(&resolver, sources.client_ca.as_deref(), protocols, Arc::clone(&tickets))?;
        let (inserted, challenges) = (Vec::new(), HashMap::new());
        let state = State { files, inserted, challenges, client_ca, tickets, fingerprint };
        resolver.choice.store(Arc::new(state.choice()));
        publish(state.statuses());
        Ok(Self {
            sources,
            resolver,
            config: ArcSwap::from_pointee(config),
            state: Mutex::new(state),
            publish: Box::new(publish),
        })
    }

    /// The configuration for the next handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Reads all files again. What cannot be used is refused, and what it was to replace
    /// stays. A pair that a directory no longer has is gone.
    pub fn reload(&self) -> Reloaded {
        let mut state = self.lock();
        let mut reloaded = Reloaded::default();
        state.fingerprint = Some(self.sources.fingerprint());
        match self.sources.list() {
            Ok(pairs) => {
                let before = std::mem::take(&mut state.files);
                state.files = reread(pairs, &before, &mut reloaded);
            }
            Err(error) => reloaded.refused.push(error.to_string()),
        }
        if let Err(error) = self.reload_client_ca(&mut state) {
            reloaded.refused.push(error.to_string());
        }
        self.apply(&state);
        reloaded
    }

    /// Have the files changed since they were read last, and stayed the same since `seen`?
    /// Who replaces the files of a pair replaces one after the other. Updates `seen`.
    pub fn is_stale(&self, seen: &mut Option<Fingerprint>) -> bool {
        let now = Some(self.sources.fingerprint());
        let is_settled = *seen == now;
        seen.clone_from(&now);
        is_settled && self.lock().fingerprint != now
    }

    /// Adds the certificate `id` that comes from elsewhere than the files, or replaces it.
    pub fn insert(&self, id: &str, certificate: Certificate) {
        let mut state = self.lock();
        match state.inserted.iter_mut().find(|(own, _)| own == id) {
            Some((_, old)) => *old = certificate,
            None => state.inserted.push((id.to_owned(), certificate)),
        }
        self.apply(&state);
    }

    /// From now on who asks for `domain` with the protocol of ACME's challenges, and with no
    /// other, gets `certificate` (RFC 8737, section 3).
    pub fn begin_challenge(&self, domain: &str, certificate: &Certificate) {
        self.lock_challenges(|challenges| {
            challenges.insert(domain.to_ascii_lowercase(), Arc::clone(&certificate.key));
        });
    }

    pub fn end_challenge(&self, domain: &str) {
        self.lock_challenges(|challenges| {
            challenges.remove(&domain.to_ascii_lowercase());
        });
    }

    /// By which another process can resume the sessions of this one.
    pub fn tickets(&self) -> HandedOn {
        let state = self.lock();
        HandedOn { client_ca: state.client_ca_digest(), keys: state.tickets.export() }
    }

    /// Resumes the sessions of another process as well, unless its clients were signed by other
    /// authorities.
    pub fn resume(&self, tickets: &HandedOn) {
        let state = self.lock();
        if state.client_ca_digest() == tickets.client_ca {
            state.tickets.import(&tickets.keys);
        }
    }

    /// The protocol of challenges is offered only while there are any.
    fn lock_challenges(&self, change: impl FnOnce(&mut HashMap<String, Arc<CertifiedKey>>)) {
        let mut state = self.lock();
        change(&mut state.challenges);
        self.resolver.challenges.store(Arc::new(state.challenges.clone()));
        let mut config = ServerConfig::clone(&self.config.load());
        config.alpn_protocols.retain(|protocol| protocol != ACME_TLS_ALPN);
        if !state.challenges.is_empty() {
            config.alpn_protocols.push(ACME_TLS_ALPN.to_vec());
        }
        self.config.store(Arc::new(config));
    }

    /// Sessions of clients that other authorities have signed are not resumed: they get new
    /// ticket keys. Otherwise the keys stay, also over reloads.
    fn reload_client_ca(&self, state: &mut State) -> Result<(), TlsError> {
        let Some(path) = &self.sources.client_ca else { return Ok(()) };
        let content = crate::files::read(path).map_err(ClientCaError::from)?;
        if state.client_ca.as_ref() != Some(&content) {
            let protocols = self.config.load().alpn_protocols.clone();
            let tickets = Arc::new(Tickets::new()?);
            let config = config(&self.resolver, Some(path), protocols, Arc::clone(&tickets))?;
            self.config.store(Arc::new(config));
            (state.client_ca, state.tickets) = (Some(content), tickets);
        }
        Ok(())
    }

    /// The next handshake gets what `state` has.
    fn apply(&self, state: &State) {
        self.resolver.choice.store(Arc::new(state.choice()));
        (self.publish)(state.statuses());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("sources", &self.sources).finish_non_exhaustive()
    }
}

impl State {
    fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        let files = self.files.iter().map(|(_, certificate)| certificate);
        files.chain(self.inserted.iter().map(|(_, certificate)| certificate))
    }

    fn client_ca_digest(&self) -> Option<Secret> {
        let content = self.client_ca.as_ref()?;
        Some(Secret::new(digest::digest(&digest::SHA256, content).as_ref()))
    }

    fn choice(&self) -> Choice {
        Choice::new(self.certificates())
    }

    fn statuses(&self) -> Vec<CertificateStatus> {
        self.certificates().map(|certificate| certificate.status.clone()).collect()
    }
}

/// Reads `pairs`; one that cannot be used stays as it was `before`, if it was there.
fn reread(
    pairs: Vec<PairFiles>,
    before: &[(PairFiles, Certificate)],
    reloaded: &mut Reloaded,
) -> Vec<(PairFiles, Certificate)> {
    let mut files = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let old = before.iter().find(|(old, _)| *old == pair).map(|(_, certificate)| certificate);
        match (pair.read(), old) {
            (Ok(certificate), old) => {
                if old.is_none_or(|old| old.leaf() != certificate.leaf()) {
                    reloaded.fresh.push(certificate.status.clone());
                }
                files.push((pair, certificate));
            }
            (Err(error), Some(old)) => {
                reloaded.refused.push(format!("{error}; the one before stays"));
                files.push((pair, old.clone()));
            }
            (Err(error), None) => reloaded.refused.push(error.to_string()),
        }
    }
    files
}

fn config(
    resolver: &Arc<Resolver>,
    client_ca: Option<&Path>,
    protocols: Vec<Vec<u8>>,
    tickets: Arc<Tickets>,
) -> Result<ServerConfig, TlsError> {
    // TLS 1.2 and 1.3.
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        Some(path) => builder.with_client_cert_verifier(client_ca::verifier(path)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::<Resolver>::clone(resolver));
    config.alpn_protocols = protocols;
    // All suites are sound, so the order matters little; scanners miss one all the same.
    config.ignore_client_order = true;
    // Sessions are resumed by tickets alone: no memory for each session, and no lock that
    // handshakes share.
    config.ticketer = tickets;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// Gives a handshake its certificate.
#[derive(Debug, Default)]
struct Resolver {
    choice: ArcSwap<Choice>,
    /// By domain.
    challenges: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let is_challenge =
            hello.alpn().is_some_and(|mut alpn| alpn.all(|protocol| protocol == ACME_TLS_ALPN));
        if is_challenge {
            return self.challenges.load().get(name?).cloned();
        }
        self.choice.load().choose(name, hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests;
