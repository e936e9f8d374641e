//! Session tickets (RFC 8446, section 4.6.1; RFC 5077): sessions are resumed without memory for
//! each of them. The keys rotate, and can be handed on to another process that is to resume the
//! same sessions.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use shared_protocol::{Secret, TicketKey};

/// A key makes tickets for so long, and then reads them for as long.
const ROTATION: Duration = Duration::from_secs(6 * 3600);
/// By which a ticket names its key, as RFC 5077 recommends (section 4).
const NAME: usize = 16;
const KEY: usize = 32;

/// Makes tickets and reads them. Handshakes share no lock.
pub(crate) struct Tickets {
    keys: ArcSwap<Keys>,
}

#[derive(Debug, thiserror::Error)]
#[error("the system has no random numbers for the keys of session tickets")]
pub struct NoRandom;

struct Keys {
    current: Arc<Key>,
    previous: Option<Arc<Key>>,
}

struct Key {
    name: [u8; NAME],
    secret: [u8; KEY],
    cipher: LessSafeKey,
    made: Instant,
}

impl Tickets {
    pub(crate) fn new() -> Result<Self, NoRandom> {
        let keys = Keys { current: Arc::new(Key::random()?), previous: None };
        Ok(Self { keys: ArcSwap::from_pointee(keys) })
    }

    /// Its keys, the current one first.
    pub(crate) fn export(&self) -> Vec<TicketKey> {
        let keys = self.keys.load();
        [Some(&keys.current), keys.previous.as_ref()].into_iter().flatten().map(|key| key.export()).collect()
    }

    /// Goes on with `keys`, the current one first. Those that are not understood are left out.
    pub(crate) fn import(&self, keys: &[TicketKey]) {
        let mut keys = keys.iter().filter_map(Key::import).map(Arc::new);
        if let Some(current) = keys.next() {
            self.keys.store(Arc::new(Keys { current, previous: keys.next() }));
        }
    }

    /// The keys, with a new one when its time has come.
    fn keys(&self) -> Arc<Keys> {
        let keys = self.keys.load_full();
        if keys.current.made.elapsed() < ROTATION {
            return keys;
        }
        // Without random numbers the old one goes on.
        let Ok(next) = Key::random() else { return keys };
        let next = Keys { current: Arc::new(next), previous: Some(Arc::clone(&keys.current)) };
        // Of several handshakes that come to this, one has its way.
        self.keys.compare_and_swap(&keys, Arc::new(next));
        self.keys.load_full()
    }
}

impl Key {
    fn random() -> Result<Self, NoRandom> {
        let (mut name, mut secret) = ([0; NAME], [0; KEY]);
        let random = SystemRandom::new();
        random.fill(&mut name).and_then(|()| random.fill(&mut secret)).map_err(|_| NoRandom)?;
        Ok(Self::new(name, secret, Instant::now()))
    }

    fn new(name: [u8; NAME], secret: [u8; KEY], made: Instant) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &secret).expect("the key has the cipher's length");
        Self { name, secret, cipher: LessSafeKey::new(key), made }
    }

    fn export(&self) -> TicketKey {
        let age = self.made.elapsed().as_secs();
        TicketKey { name: Secret::new(&self.name), key: Secret::new(&self.secret), age }
    }

    fn import(key: &TicketKey) -> Option<Self> {
        let (name, secret) = (key.name.expose()?.try_into().ok()?, key.key.expose()?.try_into().ok()?);
        // The system's clock began later than the key was made where it has just started.
        let now = Instant::now();
        Some(Self::new(name, secret, now.checked_sub(Duration::from_secs(key.age)).unwrap_or(now)))
    }

    /// The name, a nonce, and what is encrypted.
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let aad = Aad::from(self.name);
        self.cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        Some([&self.name, nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut plain = sealed.to_vec();
        let aad = Aad::from(self.name);
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.cipher.open_in_place(nonce, aad, &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// Seconds; until its key is given up at the latest.
    fn lifetime(&self) -> u32 {
        u32::try_from(2 * ROTATION.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys().current.seal(plain)
    }

    fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys();
        let (name, sealed) = sealed.split_first_chunk::<NAME>()?;
        let key = [Some(&keys.current), keys.previous.as_ref()].into_iter().flatten();
        let mut key = key.filter(|key| key.name == *name && key.made.elapsed() < 2 * ROTATION);
        key.next()?.open(sealed)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_read_back_here_and_where_the_keys_are_handed_on() {
        let (one, other) = (Tickets::new().unwrap(), Tickets::new().unwrap());
        let ticket = one.encrypt(b"session").unwrap();
        assert_eq!(one.decrypt(&ticket).as_deref(), Some(b"session".as_slice()));
        assert_eq!(other.decrypt(&ticket), None);
        other.import(&one.export());
        assert_eq!(other.decrypt(&ticket).as_deref(), Some(b"session".as_slice()));
        assert_eq!(one.decrypt(&other.encrypt(b"later").unwrap()).as_deref(), Some(b"later".as_slice()));
        assert_ne!(one.encrypt(b"session"), one.encrypt(b"session"));
    }

    #[test]
    fn what_was_changed_is_no_ticket() {
        let tickets = Tickets::new().unwrap();
        let ticket = tickets.encrypt(b"session").unwrap();
        for index in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[index] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "byte {index}");
            assert_eq!(tickets.decrypt(&ticket[..index]), None, "{index} bytes");
        }
    }

    #[test]
    fn keys_rotate_and_are_given_up() {
        let tickets = Tickets::new().unwrap();
        let aged = |tickets: &Tickets, age: Duration| -> Vec<TicketKey> {
            let keys = tickets.export().into_iter();
            keys.map(|key| TicketKey { age: key.age + age.as_secs(), ..key }).collect()
        };
        let ticket = tickets.encrypt(b"session").unwrap();
        tickets.import(&aged(&tickets, ROTATION));
        let later = tickets.encrypt(b"session").unwrap();
        assert_ne!(ticket[..NAME], later[..NAME], "another key");
        assert!(tickets.decrypt(&ticket).is_some(), "the one before still reads");
        tickets.import(&aged(&tickets, ROTATION));
        assert_eq!(tickets.decrypt(&ticket), None);
        assert!(tickets.decrypt(&later).is_some());
    }
}
