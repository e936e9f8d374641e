//! Keeps a good certificate for each domain: the only owner of their schedule.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use balancer_tls::Certificate;
use instant_acme::{Account, AccountCredentials, Error, NewAccount};
use shared_protocol::CertificateStatus;

use crate::attempts::Attempts;
use crate::client::{Client, ClientError};
use crate::order::{Answers, ChallengeKind, Issued, OrderError, order};
use crate::schedule::{Action, Failures, Validity, next_action, wait_after};
use crate::store::{Store, StoreError};

/// Time for one attempt, with all waits for the server in it.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Wait while another process orders with the same files.
const BUSY_WAIT: Duration = Duration::from_secs(30);

/// What is wanted, and from whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// As [`crate::domain()`] returns them.
    pub domains: Vec<String>,
    /// Where the server can write to; some warn of certificates that end.
    pub email: Option<String>,
    pub directory_url: String,
    /// Authorities that sign the server's own certificate, instead of the system's.
    pub ca: Option<PathBuf>,
    /// The directory of all files.
    pub root: PathBuf,
    /// The preferred one first; the others are tried in turn after failures. At least one.
    pub challenges: Vec<ChallengeKind>,
    /// Time for one request; see [`crate::REQUEST_TIMEOUT`].
    pub request_timeout: Duration,
}

/// Who is told what happens.
pub trait Observer: Send + Sync {
    /// A certificate of the store is used.
    fn loaded(&self, status: &CertificateStatus);
    /// What the store has for `domain` cannot be used, or its account cannot.
    fn unusable(&self, reason: &str);
    /// A new certificate is used.
    fn issued(&self, status: &CertificateStatus);
    /// A certificate is used that could not be kept.
    fn not_kept(&self, reason: &str);
    /// An attempt has failed; the next one comes after `wait`.
    fn failed(&self, domain: &str, reason: &str, wait: Duration);
    /// An attempt has failed before this start, for `reason`; the next one comes after `wait`,
    /// or by a start without `file`.
    fn postponed(&self, domain: &str, reason: &str, wait: Duration, file: &Path);
    /// When the next certificate of any domain is to be ordered.
    fn scheduled(&self, at: SystemTime);
}

/// A domain and its schedule.
struct Managed {
    domain: String,
    validity: Option<Validity>,
    chance: f64,
    failures: Option<Failures>,
    /// Certificates in a row that were due for renewal as they came.
    early: u32,
}

/// What became of an attempt that has not failed.
enum Attempted {
    Issued(Certificate),
    /// Another process is at it.
    Busy,
    /// Another process has failed meanwhile.
    Postponed(Failures),
}

pub struct Manager {
    settings: Settings,
    store: Store,
    client: Client,
    answers: Answers,
    observer: Arc<dyn Observer>,
    domains: Vec<Managed>,
}

#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error("the server was not done within {} minutes", ATTEMPT_TIMEOUT.as_secs() / 60)]
    Timeout,
}

impl From<Error> for AttemptError {
    fn from(err: Error) -> Self {
        Self::Order(err.into())
    }
}

/// Why there can be no certificates by ACME.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Manager {
    /// Uses what certificates there are. Asks no server.
    ///
    /// # Errors
    /// When nothing can be kept, or no server trusted.
    pub fn open(
        settings: Settings,
        answers: Answers,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, OpenError> {
        let store = Store::open(&settings.root, &settings.directory_url)?;
        let client = Client::new(settings.ca.as_deref(), settings.request_timeout)?;
        let domains = settings.domains.iter().map(|domain| Managed {
            domain: domain.clone(),
            validity: None,
            chance: fastrand::f64(),
            failures: None,
            early: 0,
        });
        let domains = domains.collect();
        let mut manager = Self { settings, store, client, answers, observer, domains };
        for index in 0..manager.domains.len() {
            match manager.store.certificate(&manager.domains[index].domain) {
                Ok(Some(certificate)) => {
                    manager.observer.loaded(certificate.status());
                    manager.adopt(index, certificate);
                }
                Ok(None) => {}
                Err(reason) => manager.observer.unusable(&reason),
            }
            manager.recall(index);
        }
        Ok(manager)
    }

    /// Domains that have no certificate yet: handshakes for them are refused until they do.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().filter(|one| one.validity.is_none()).map(|one| one.domain.as_str())
    }

    /// Orders and renews for as long as it is polled.
    pub async fn run(mut self) {
        loop {
            let mut sleep = None::<Duration>;
            for index in 0..self.domains.len() {
                if self.action(index) == Action::Order {
                    self.attempt(index).await;
                }
                let wait = match self.action(index) {
                    Action::Wait(wait) => wait,
                    Action::Order => self.pause(index).await,
                };
                sleep = Some(sleep.map_or(wait, |sleep| sleep.min(wait)));
            }
            let Some(sleep) = sleep else { return };
            if let Some(at) = self.domains.iter().map(Managed::due).min() {
                self.observer.scheduled(at);
            }
            tokio::time::sleep(sleep).await;
        }
    }

    /// Takes up what has failed before this start.
    fn recall(&mut self, index: usize) {
        let one = &mut self.domains[index];
        let Some(Attempts { failures, reason }) = self.store.attempts(&one.domain) else { return };
        one.failures = Some(failures);
        if let Ok(wait) = failures.not_before.duration_since(SystemTime::now()) {
            self.observer.postponed(&one.domain, &reason, wait, &self.store.attempts_path(&one.domain));
        }
    }

    /// A certificate has come that is due for renewal already: a server that issues such ones,
    /// or one whose time is another, must not be asked at once, and less and less.
    async fn pause(&mut self, index: usize) -> Duration {
        let one = &mut self.domains[index];
        one.early = one.early.saturating_add(1);
        let reason = "it is due for renewal as it comes (is this machine's clock right?)";
        self.fail(index, self.domains[index].early, reason, None).await
    }

    /// Counts a failure, and keeps it. Returns the wait until the next attempt.
    async fn fail(&mut self, index: usize, count: u32, reason: &str, asked: Option<Duration>) -> Duration {
        let wait = wait_after(count, asked, fastrand::f64());
        let failures = Failures { count, not_before: SystemTime::now() + wait };
        let one = &mut self.domains[index];
        one.failures = Some(failures);
        self.observer.failed(&one.domain, reason, wait);
        let (store, domain) = (self.store.clone(), one.domain.clone());
        let attempts = Attempts { failures, reason: reason.to_owned() };
        // Without it the next start asks at once. A store that fails is what was said, or will be.
        let _ = blocking(move || store.save_attempts(&domain, &attempts)).await;
        wait
    }

    fn action(&self, index: usize) -> Action {
        let one = &self.domains[index];
        next_action(SystemTime::now(), one.validity, one.failures, one.chance)
    }

    fn postpone(&mut self, index: usize, wait: Duration) -> Duration {
        let failures = &mut self.domains[index].failures;
        let count = failures.map_or(0, |failures| failures.count);
        *failures = Some(Failures { count, not_before: SystemTime::now() + wait });
        wait
    }

    /// Handshakes get `certificate` from now on.
    fn adopt(&mut self, index: usize, certificate: Certificate) {
        let one = &mut self.domains[index];
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let status = certificate.status();
        let validity = Validity { not_before: at(status.not_before), not_after: at(status.not_after) };
        (one.validity, one.failures, one.chance) = (Some(validity), None, fastrand::f64());
        self.answers.tls.insert(&one.domain, certificate);
    }

    async fn attempt(&mut self, index: usize) {
        let timed = tokio::time::timeout(ATTEMPT_TIMEOUT, self.try_once(index)).await;
        match timed.unwrap_or(Err(AttemptError::Timeout)) {
            Ok(Attempted::Issued(certificate)) => {
                let status = certificate.status().clone();
                self.adopt(index, certificate);
                self.observer.issued(&status);
                if self.action(index) != Action::Order {
                    self.domains[index].early = 0;
                }
            }
            Ok(Attempted::Busy) => {
                self.postpone(index, BUSY_WAIT);
            }
            Ok(Attempted::Postponed(failures)) => self.domains[index].failures = Some(failures),
            Err(err) => {
                let asked = self.client.take_retry_after();
                let count = self.domains[index].failed().saturating_add(1);
                self.fail(index, count, &err.to_string(), asked).await;
            }
        }
    }

    async fn try_once(&self, index: usize) -> Result<Attempted, AttemptError> {
        let one = &self.domains[index];
        let (store, domain) = (self.store.clone(), one.domain.clone());
        // An attempt that is cut short has failed, for who starts next.
        let count = one.failed().saturating_add(1);
        let not_before = SystemTime::now() + wait_after(count, None, fastrand::f64());
        let reason = "the attempt was cut short".to_owned();
        let begun = Attempts { failures: Failures { count, not_before }, reason };
        // File systems that hang or are slow must not stop who polls this.
        let Some((lock, found, failed)) = blocking(move || {
            let Some(lock) = store.lock()? else { return Ok(None) };
            let found = store.certificate(&domain).ok().flatten();
            let failed = store.attempts(&domain);
            store.probe()?;
            if !failed.as_ref().is_some_and(Attempts::is_waited_for) {
                store.save_attempts(&domain, &begun)?;
            }
            Ok::<_, StoreError>(Some((lock, found, failed)))
        })
        .await?
        else {
            return Ok(Attempted::Busy);
        };
        // Another process may have ordered in the meantime.
        let not_after = |validity: Validity| validity.not_after;
        let own_end = one.validity.map_or(SystemTime::UNIX_EPOCH, not_after).max(SystemTime::now());
        if let Some(found) = found
            && SystemTime::UNIX_EPOCH + Duration::from_secs(found.status().not_after) > own_end
        {
            let (store, domain) = (self.store.clone(), one.domain.clone());
            blocking(move || store.forget_attempts(&domain)).await;
            return Ok(Attempted::Issued(found));
        }
        if let Some(failed) = failed
            && failed.is_waited_for()
        {
            return Ok(Attempted::Postponed(failed.failures));
        }
        let kind = self.settings.challenges[one.failed() as usize % self.settings.challenges.len()];
        self.client.take_retry_after();
        let account = self.account().await?;
        let source = self.store.certificate_path(&one.domain).display().to_string();
        let issued = order(&account, &one.domain, kind, &self.answers, &source).await;
        let Issued { certificate, pem } = match issued {
            Err(OrderError::Server(Error::Api(problem))) if is_unknown_account(&problem) => {
                let store = self.store.clone();
                blocking(move || store.forget_account()).await?;
                return Err(Error::Api(problem).into());
            }
            issued => issued?,
        };
        let (store, domain) = (self.store.clone(), one.domain.clone());
        let kept = blocking(move || {
            let kept = store.save_certificate(&domain, &pem);
            if kept.is_ok() {
                store.forget_attempts(&domain);
            }
            drop(lock);
            kept
        });
        if let Err(err) = kept.await {
            self.observer.not_kept(&err.to_string());
        }
        Ok(Attempted::Issued(certificate))
    }

    /// That of the store, or a new one, which is put there.
    async fn account(&self) -> Result<Account, AttemptError> {
        let builder = || Account::builder_with_http(Box::new(self.client.clone()));
        let store = self.store.clone();
        if let Some(text) = blocking(move || store.account()).await? {
            match serde_json::from_slice::<AccountCredentials>(&text) {
                Ok(credentials) => return Ok(builder().from_credentials(credentials).await?),
                Err(err) => {
                    let path = self.store.account_path();
                    self.observer.unusable(&format!("{} does not parse: {err}", path.display()));
                    let store = self.store.clone();
                    blocking(move || store.forget_account()).await?;
                }
            }
        }
        let contact = self.settings.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<_> = contact.as_deref().into_iter().collect();
        let wanted =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let made = builder().create(&wanted, self.settings.directory_url.clone(), None);
        let (account, credentials) = made.await?;
        let text = serde_json::to_vec(&credentials).map_err(Error::from)?;
        let store = self.store.clone();
        blocking(move || store.save_account(&text)).await?;
        Ok(account)
    }
}

impl Managed {
    /// Attempts that have failed since the last one that succeeded.
    fn failed(&self) -> u32 {
        self.failures.map_or(0, |failures| failures.count)
    }

    fn due(&self) -> SystemTime {
        let renewal = self.validity.map_or(SystemTime::UNIX_EPOCH, |validity| validity.renewal(self.chance));
        self.failures.map_or(renewal, |failures| renewal.max(failures.not_before))
    }
}

fn is_unknown_account(problem: &instant_acme::Problem) -> bool {
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(err) => std::panic::resume_unwind(err.into_panic()),
    }
}
