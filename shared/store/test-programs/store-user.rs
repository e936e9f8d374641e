//! A process that uses a store, for the tests of what happens between processes.
//!
//! - `store-user count DIRECTORY` counts in the embedded store of DIRECTORY until
//!   it is killed, and prints each sum once that has been acknowledged
//! - `store-user increment URL` counts once in the Redis at URL, with the
//!   environment's certificate authority, and prints the result

#![expect(clippy::unwrap_used, reason = "a test program that cannot go on fails, and says where")]

use std::time::{Duration, Instant};

use shared_store::{Key, RedisUrl, StoreConfig, open};

/// The longest that a store may take to answer, or to say that it cannot.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["count", directory] => runtime.block_on(count(directory)),
        ["increment", url] => runtime.block_on(increment(url)),
        _ => panic!("usage: store-user count DIRECTORY | increment URL"),
    }
}

async fn count(directory: &str) {
    let store = open(&StoreConfig::Embedded(directory.into())).unwrap();
    let key = Key::new("k").unwrap();
    loop {
        println!("{}", store.increment(&key, 1).await.unwrap());
    }
}

async fn increment(url: &str) {
    let store = open(&StoreConfig::Redis(RedisUrl::parse(url).unwrap())).unwrap();
    let began = Instant::now();
    let result = store.increment(&Key::new("k").unwrap(), 1).await;
    assert!(began.elapsed() < ANSWER_LIMIT, "it took {:?}", began.elapsed());
    println!("{result:?}");
}
