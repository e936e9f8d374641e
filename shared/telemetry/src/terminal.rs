//! What a terminal allows. Programs write plain text into files and pipes.

use std::io::{self, IsTerminal};

/// Is standard output a terminal?
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// May standard output have colours? Only a terminal that knows them, and only if the
/// user has not declined by `NO_COLOR` (no-color.org).
pub fn stdout_has_colour() -> bool {
    stdout_is_terminal() && colour_is_welcome()
}

/// May standard error have colours? As [`stdout_has_colour`].
pub fn stderr_has_colour() -> bool {
    io::stderr().is_terminal() && colour_is_welcome()
}

/// Can text on standard output be drawn in place?
pub fn stdout_draws() -> bool {
    stdout_is_terminal() && !is_dumb()
}

/// Can text on standard error be drawn in place?
pub fn stderr_draws() -> bool {
    io::stderr().is_terminal() && !is_dumb()
}

fn colour_is_welcome() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && !is_dumb()
}

/// A terminal that calls itself dumb knows no escape codes (terminfo(5)).
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|kind| kind == "dumb")
}
