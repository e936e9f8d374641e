//! Judges how evenly a dispatcher spreads work over workers.
//!
//! - [`balance`]: the figures of one spread (χ², coefficient of variation, Jain's
//!   index), whether it is even, and which kind of dispatch it looks like
//! - [`samples`]: how many requests a statement needs, and what it is worth
//! - [`turns`]: whether requests went to the workers strictly in turn
//!
//! Everything is a pure function of counts; nothing here knows a request, a
//! process or a clock.

pub mod balance;
pub mod samples;
pub mod turns;

pub use balance::{Balance, Dispatch, upper_tail};
