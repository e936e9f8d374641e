//! One request with one worker: from the first byte of the head to the last byte of the
//! response.

mod close;
mod outcome;
mod plan;
mod run;

pub(crate) use close::CloseWatch;
pub(crate) use outcome::Outcome;
pub(crate) use plan::BodyPlan;
pub(crate) use run::Exchange;
