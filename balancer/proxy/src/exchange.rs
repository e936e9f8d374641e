//! One request with one worker: from the first byte of the head to the last byte of the
//! response.

mod outcome;
mod plan;
mod run;

pub(crate) use outcome::Outcome;
pub(crate) use run::Exchange;
