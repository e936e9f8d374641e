//! Temporary root.
pub mod fleet;
pub mod reason;
