//! The statements of the embedded store, as plain functions on a connection.
//! Time comes in as milliseconds since 1970.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};

use crate::StoreError;

/// Longest wait for another process's write. A write takes well under 1 ms, so
/// only a stopped process or a disk in trouble makes anyone wait for so long.
const LOCK_LIMIT: Duration = Duration::from_millis(600);
/// Longest attempt to open the database, beside others who do the same.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// Expired entries removed in one go, so that no write waits long for it.
const PURGED_AT_ONCE: u32 = 256;
/// Pages kept in memory, in KiB; the kernel caches the file anyway.
const CACHE_KIB: i64 = 256;
/// What the write-ahead log is cut back to after it has grown.
const LOG_BYTES: i64 = 4 << 20;

/// "clus": lets `file` and SQLite's tools tell whose database it is.
const APPLICATION_ID: i64 = 0x636c_7573;
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS state (
        key TEXT PRIMARY KEY NOT NULL,
        value TEXT NOT NULL,
        expires INTEGER -- milliseconds since 1970, or NULL for never
    ) STRICT;
    CREATE INDEX IF NOT EXISTS state_expires ON state (expires) WHERE expires IS NOT NULL;
";

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    /// Else it only reads.
    pub(super) writes: bool,
    /// Must the database survive the machine's sudden end, and not only that of
    /// processes? Then the disk is waited for now and then.
    pub(super) durable: bool,
}

/// Opens and, to write, sets up the database.
pub(super) fn open(path: &Path, purpose: Use) -> rusqlite::Result<Connection> {
    let began = Instant::now();
    loop {
        match try_open(path, purpose) {
            // SQLite does not call the busy handler for some of the locks that
            // switching to WAL and recovering take.
            Err(err) if is_busy(&err) && began.elapsed() < OPEN_LIMIT => {
                thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

fn is_busy(err: &rusqlite::Error) -> bool {
    matches!(err.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn try_open(path: &Path, purpose: Use) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_handler(Some(wait_for_lock()))?;
    connection.pragma_update(None, "synchronous", if purpose.durable { "NORMAL" } else { "OFF" })?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    if purpose.writes {
        set_up(&mut connection)?;
    } else {
        connection.pragma_update(None, "query_only", true)?;
    }
    Ok(connection)
}

fn set_up(connection: &mut Connection) -> rusqlite::Result<()> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        tracing::warn!(mode, "the file system does not support the store's write-ahead log");
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    let id: i64 = transaction.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if id != APPLICATION_ID {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    transaction.commit()
}

/// SQLite's busy handler: sleeps a little longer each time, up to 2 ms, as
/// writers come and go within microseconds; gives up after [`LOCK_LIMIT`].
fn wait_for_lock() -> impl FnMut(i32) -> bool + Send + 'static {
    let mut began = Instant::now();
    move |tries| {
        if tries == 0 {
            began = Instant::now();
        }
        if began.elapsed() >= LOCK_LIMIT {
            return false;
        }
        let longest = 50_u64 << tries.clamp(0, 5);
        // Not all at the same moment again.
        thread::sleep(Duration::from_micros(fastrand::u64(longest / 2..=longest)));
        true
    }
}

pub(super) fn set(
    connection: &Connection,
    key: &str,
    value: &str,
    expires: Option<i64>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO state (key, value, expires) VALUES (?1, ?2, ?3)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires",
        )?
        .execute(params![key, value, expires])?;
    Ok(())
}

pub(super) fn get(connection: &Connection, key: &str, now: i64) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM state WHERE key = ?1 AND (expires IS NULL OR expires > ?2)")?
        .query_row(params![key, now], |row| row.get(0))
        .optional()
}

/// Was there a value that had not expired?
pub(super) fn delete(connection: &Connection, key: &str, now: i64) -> rusqlite::Result<bool> {
    let deleted = connection
        .prepare_cached("DELETE FROM state WHERE key = ?1 AND (expires IS NULL OR expires > ?2)")?
        .execute(params![key, now])?;
    Ok(deleted > 0)
}

pub(super) fn increment(
    connection: &mut Connection,
    key: &str,
    by: i64,
    now: i64,
) -> Result<i64, StoreError> {
    // Takes the write lock before it reads, so that no other process can write
    // in between. A transaction that is dropped is rolled back.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sum = match get(&transaction, key, now)? {
        None => {
            set(&transaction, key, &by.to_string(), None)?;
            by
        }
        Some(text) => {
            let sum = integer(&text)?.checked_add(by).ok_or(StoreError::Overflow)?;
            transaction
                .prepare_cached("UPDATE state SET value = ?2 WHERE key = ?1")?
                .execute(params![key, sum.to_string()])?;
            sum
        }
    };
    transaction.commit()?;
    Ok(sum)
}

/// Reads an integer as strictly as Redis does: `-0`, `1e2` and `1.0` are none.
fn integer(text: &str) -> Result<i64, StoreError> {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text).ok_or(StoreError::NotAnInteger)
}

/// Removes some of what has expired. Looks first, as most often there is nothing
/// and looking takes no lock.
pub(super) fn purge(connection: &Connection, now: i64) -> rusqlite::Result<usize> {
    let due: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM state WHERE expires <= ?1)")?
        .query_row(params![now], |row| row.get(0))?;
    if !due {
        return Ok(0);
    }
    connection
        .prepare_cached(
            "DELETE FROM state WHERE rowid IN (SELECT rowid FROM state WHERE expires <= ?1 LIMIT ?2)",
        )?
        .execute(params![now, PURGED_AT_ONCE])
}

/// Reads from the file, so that a lost disk or a spoilt file shows.
pub(super) fn ping(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("SELECT count(*) FROM sqlite_schema")?.query_row([], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> (tempfile::TempDir, Connection) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.sqlite3");
        std::fs::File::create(&path).unwrap();
        let connection = open(&path, Use { writes: true, durable: true }).unwrap();
        (directory, connection)
    }

    #[test]
    fn expired_entries_are_invisible_at_once_and_purged_in_portions() {
        let (_directory, mut connection) = database();
        for index in 0..300 {
            set(&connection, &format!("k{index}"), "1", Some(1000)).unwrap();
        }
        set(&connection, "stays", "1", None).unwrap();
        assert_eq!(get(&connection, "k0", 999).unwrap().as_deref(), Some("1"));
        assert_eq!(get(&connection, "k0", 1000).unwrap(), None);
        assert!(!delete(&connection, "k1", 1000).unwrap(), "it had expired");
        assert_eq!(increment(&mut connection, "k2", 5, 1000), Ok(5), "counts from 0 again");
        assert_eq!(get(&connection, "k2", i64::MAX).unwrap().as_deref(), Some("5"), "without its expiry");
        assert_eq!(purge(&connection, 999).unwrap(), 0);
        assert_eq!(purge(&connection, 1000).unwrap(), 256);
        assert_eq!(purge(&connection, 1000).unwrap(), 300 - 1 - 256);
        assert_eq!(get(&connection, "stays", i64::MAX - 1).unwrap().as_deref(), Some("1"));
    }

    #[test]
    fn an_increment_keeps_the_expiry() {
        let (_directory, mut connection) = database();
        set(&connection, "k", "1", Some(1000)).unwrap();
        assert_eq!(increment(&mut connection, "k", 1, 500), Ok(2));
        assert_eq!(get(&connection, "k", 1000).unwrap(), None);
    }

    #[test]
    fn a_full_disk_is_told_from_other_troubles() {
        let (_directory, connection) = database();
        // SQLite treats its own limit as it does the disk's.
        connection.pragma_update(None, "max_page_count", 8).unwrap();
        let large = "1".repeat(100_000);
        let err = set(&connection, "k", &large, None).unwrap_err();
        assert!(matches!(StoreError::from(err), StoreError::Full(_)));
        set(&connection, "k", "1", None).expect("a small one still fits");
    }

    #[test]
    fn only_plain_integers_count() {
        assert_eq!(integer("-42"), Ok(-42));
        for text in ["-0", "1e2", "1.0", "\"1\"", "9223372036854775808", "", "null", "+1"] {
            assert_eq!(integer(text), Err(StoreError::NotAnInteger), "{text}");
        }
    }
}
