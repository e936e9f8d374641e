//! The programs of `examples/`, each run by the real executable with the command in its
//! first line: start, reload and the death of a worker under light load, and stop with a
//! request in hand. `.ci/frameworks` installs them. A few run with all other tests;
//! `just frameworks` runs all of them, one after the other, and shows a table.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

#[cfg(feature = "frameworks")]
mod all;
mod cluster;
mod documents;
mod example;
mod few;
mod load;
mod matrix;
