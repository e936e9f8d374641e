//! State in a SQLite database that the workers of one machine open together.
//!
//! SQLite in WAL mode is made for this: a process that is killed at any moment
//! leaves a database that the others read and write on, as file locks end with
//! their process. With `synchronous=NORMAL` what was acknowledged survives any
//! death of processes; after a power cut the last writes may be missing, but
//! the database is whole (<https://www.sqlite.org/wal.html>). A database in a
//! [`TemporaryDirectory`](super::TemporaryDirectory) would not be read after a
//! power cut, so it is spared the waits for the disk (`synchronous=OFF`).
//!
//! SQLite blocks, so each process has two threads for it, one that reads and one
//! that writes, each behind a bounded queue. A reader never waits for a writer.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{CALL_LIMIT, Key, StateStore, StoreError};
use shared_protocol::StoreKind;

mod database;
pub(crate) mod files;
mod lost;
mod place;

use database::Use;
use files::{StoreIdentity, Watched};
use lost::LostStore;
pub use place::FILE_NAME;
use place::{create, describe, in_use, is_durable, not_created};

/// Calls that may wait for each of the two threads.
const QUEUED_CALLS: usize = 2048;
/// A call that has waited in the queue for so long is not begun any more, as it
/// could not end in time.
const QUEUE_LIMIT: Duration = Duration::from_millis(800);
/// How often the writer removes expired entries while it has nothing to do.
const PURGE_IDLE: Duration = Duration::from_secs(30);
/// How often it does so between writes, at most.
const PURGE_BUSY: Duration = Duration::from_millis(500);

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

pub struct EmbeddedStore {
    // Closed in this order: the last connection tidies the files up, and only
    // the writer may.
    reader: Owner,
    writer: Owner,
    /// Its files, if it would be harmful to go on without them.
    watched: Option<Arc<Watched>>,
    /// Shared lock on the directory: programs that clean temporary directories
    /// leave one alone on which someone has a lock (tmpfiles.d(5), "Age").
    _in_use: Option<File>,
}

impl EmbeddedStore {
    /// Opens the database in `directory`; both are created when missing, for
    /// this user only. Several processes may do so at once.
    ///
    /// # Errors
    /// [`StoreError::Open`] when it cannot be written or is no database.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        let failed = |reason: String| StoreError::Open { place: path.display().to_string(), reason };
        create(directory, &path).map_err(|err| failed(not_created(&err)))?;
        let mut store = Self::connect(directory)?;
        // Nobody expects a temporary one to be there later.
        if is_durable(directory) {
            let identity = StoreIdentity::of(directory).map_err(|err| failed(err.to_string()))?;
            store.watch(directory, identity);
        }
        Ok(store)
    }

    fn watch(&mut self, directory: &Path, identity: StoreIdentity) {
        self.watched = Some(Arc::new(Watched::new(directory, identity)));
    }

    /// Opens the database, which is there.
    fn connect(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        let failed = |reason: String| StoreError::Open { place: path.display().to_string(), reason };
        let durable = is_durable(directory);
        let owner = |name, writes| {
            start(name, path.clone(), Use { writes, durable }).map_err(|err| failed(describe(&err)))
        };
        // The writer first: it creates what the reader reads.
        let writer = owner("store-write", true)?;
        let reader = owner("store-read", false)?;
        Ok(Self { reader, writer, watched: None, _in_use: in_use(directory) })
    }

    /// What [`Self::ping`] has found last.
    fn check(&self) -> Result<(), StoreError> {
        self.watched.as_ref().map_or(Ok(()), |watched| watched.seen())
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        submit(&self.reader, move |connection| job(connection).map_err(store_error)).await
    }

    /// What a write has done is acknowledged only if it is in the file that is there: one
    /// that has been removed takes writes as before.
    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check()?;
        let watched = self.watched.clone();
        submit(&self.writer, move |connection| {
            let done = job(connection)?;
            watched.map_or(Ok(()), |watched| watched.look_at_database())?;
            Ok(done)
        })
        .await
    }
}

/// Opens the store with this `identity`, which another process has made in `directory`.
/// If it is not there any more, what is returned refuses each call.
///
/// # Errors
/// As [`EmbeddedStore::open`].
pub(crate) fn open_existing(
    directory: &Path,
    identity: StoreIdentity,
) -> Result<Arc<dyn StateStore>, StoreError> {
    let lost = || Arc::new(LostStore::new(directory.to_owned(), identity));
    if identity.check(directory).is_err() {
        return Ok(lost());
    }
    let opened = EmbeddedStore::connect(directory);
    // Once more, as it may have been replaced in the meantime.
    if identity.check(directory).is_err() {
        return Ok(lost());
    }
    let mut store = opened?;
    store.watch(directory, identity);
    Ok(Arc::new(store))
}

/// The thread that owns a connection, and the way to it.
struct Owner {
    /// `None` once it has been told to end.
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Owner {
    /// Waits until the connection is closed, which is what ends a transaction.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own message.
            let _ = thread.join();
        }
    }
}

/// Starts a thread that owns a connection, and waits until it is open.
fn start(name: &str, path: PathBuf, purpose: Use) -> Result<Owner, StoreError> {
    let (jobs, queue) = sync_channel(QUEUED_CALLS);
    let (opened, is_open) = sync_channel(1);
    let body = move || match database::open(&path, purpose) {
        Ok(connection) => {
            let _ = opened.send(Ok(()));
            serve(connection, &queue, purpose.writes);
        }
        Err(err) => {
            let _ = opened.send(Err(store_error(err)));
        }
    };
    let unavailable = |reason: String| StoreError::Unavailable(reason);
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|err| unavailable(format!("could not start the thread {name}: {err}")))?;
    is_open.recv().map_err(|_| unavailable(format!("the thread {name} ended")))??;
    Ok(Owner { jobs: Some(jobs), thread: Some(thread) })
}

fn serve(mut connection: Connection, queue: &Receiver<Job>, writer: bool) {
    let mut purged = Instant::now();
    loop {
        let idle = match queue.recv_timeout(PURGE_IDLE) {
            Ok(job) => {
                job(&mut connection);
                false
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if writer && (idle || purged.elapsed() >= PURGE_BUSY) {
            purged = Instant::now();
            if let Err(err) = database::purge(&connection, now()) {
                tracing::debug!(%err, "expired entries were not removed");
            }
        }
    }
}

/// Runs `job` on the thread of `owner`. It is not begun once its caller has
/// gone away, or when it has waited for too long.
async fn submit<T: Send + 'static>(
    owner: &Owner,
    job: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let (reply, answer) = oneshot::channel();
    let queued = Instant::now();
    let job = move |connection: &mut Connection| {
        if !reply.is_closed() && queued.elapsed() < QUEUE_LIMIT {
            let _ = reply.send(job(connection));
        }
    };
    let unavailable = |reason: &str| StoreError::Unavailable(reason.to_owned());
    let ended = || unavailable("the embedded store's thread has ended");
    owner.jobs.as_ref().ok_or_else(ended)?.try_send(Box::new(job)).map_err(|err| match err {
        TrySendError::Full(_) => unavailable("too many calls wait for the embedded store"),
        TrySendError::Disconnected(_) => ended(),
    })?;
    match tokio::time::timeout(CALL_LIMIT, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err(unavailable("the embedded store is busy")),
    }
}

/// Milliseconds since 1970; the processes of one machine share its clock.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn store_error(err: rusqlite::Error) -> StoreError {
    let text = err.to_string();
    match err.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full(text),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt(text),
        _ => StoreError::Unavailable(text),
    }
}

#[async_trait]
impl StateStore for EmbeddedStore {
    async fn set(&self, key: &Key, value: &RawValue, ttl: Option<Duration>) -> Result<(), StoreError> {
        let (key, value) = (key.stored().to_owned(), value.get().to_owned());
        let ttl = ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).max(1));
        self.write(move |connection| {
            let expires = ttl.map(|ttl| now().saturating_add(ttl));
            database::set(connection, &key, &value, expires).map_err(store_error)
        })
        .await
    }

    async fn get(&self, key: &Key) -> Result<Option<Box<RawValue>>, StoreError> {
        self.check()?;
        let key = key.stored().to_owned();
        let text = self.read(move |connection| database::get(connection, &key, now())).await?;
        text.map(RawValue::from_string)
            .transpose()
            .map_err(|_| StoreError::Corrupt("it is not JSON".to_owned()))
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        let key = key.stored().to_owned();
        self.write(move |connection| database::delete(connection, &key, now()).map_err(store_error)).await
    }

    async fn increment(&self, key: &Key, by: i64) -> Result<i64, StoreError> {
        let key = key.stored().to_owned();
        self.write(move |connection| database::increment(connection, &key, by, now())).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let watched = self.watched.clone();
        submit(&self.reader, move |connection| {
            watched.map_or(Ok(()), |watched| watched.look())?;
            database::ping(connection).map_err(store_error)
        })
        .await
    }

    fn kind(&self) -> StoreKind {
        StoreKind::Embedded
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(err: rusqlite::Error) -> Self {
        store_error(err)
    }
}
