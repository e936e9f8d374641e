//! What holds for the fleet whatever happens: tried in every order up to a depth,
//! and in millions of random ones.

mod ending;
mod explorer;
mod member_life;
mod mutants;
mod replacing;
mod schedule;
mod time;
mod world;
