//! The program that runs as workers.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use shared_settings::{ConfigError, Origin};

use super::mode::Mode;
use super::place::Found;
use balancer_supervisor::process::Program;
use balancer_supervisor::release::find_executable as find_in;

/// The program to run as workers: `command`, or the bundled worker without one.
///
/// # Errors
/// When there is no cluster to run `command` in, or no such executable file.
pub(super) fn program(
    mode: Mode,
    command: &[OsString],
    origin: Option<&Origin>,
    found: &Found,
) -> Result<Program, ConfigError> {
    let Some(name) = command.first() else { return Ok(Program::Bundled) };
    if mode == Mode::Single {
        return Err(ConfigError::Conflict(
            "a command needs a cluster to run in: leave out --cluster off (or CLUSTER_ENABLED=false), \
             for example --workers 1"
                .to_owned(),
        ));
    }
    if found.executable(name).is_none() {
        return Err(ConfigError::Conflict(missing(name, origin)));
    }
    Ok(Program::Command(command.to_vec()))
}

/// What to say of a program that is not there, and of a right one where it is named.
fn missing(name: &OsStr, origin: Option<&Origin>) -> String {
    let (place, example) = match origin {
        Some(origin) => (origin.to_string(), "command = \"node server.js\""),
        None => ("after --".to_owned(), "-- node server.js"),
    };
    let bytes = name.as_encoded_bytes();
    let hint = if bytes.contains(&b'=') {
        ", behind env where variables are set (env NODE_ENV=production node server.js)"
    } else if bytes.contains(&b' ') {
        ", each a word of its own, without quotes"
    } else {
        ""
    };
    let comes = if origin.is_some() { "expects" } else { "comes" };
    format!(
        "there is no executable file {name:?}: {place} {comes} the program and its arguments{hint}, \
         for example {example}"
    )
}

/// The file that may be executed and that execvp(3) would find for `name`.
pub(crate) fn find_executable(name: &OsStr) -> Option<PathBuf> {
    find_in(name, Path::new(""), std::env::var_os("PATH"))
}

#[cfg(test)]
mod tests {
    use balancer_supervisor::release::Variables;

    use super::*;

    #[test]
    fn a_command_must_exist_and_have_a_cluster() {
        let line = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let cluster = Mode::Cluster { workers: 2, max: None };
        let found = Found { directory: "/bin".into(), variables: Variables::default() };
        let program = |mode, line: &[OsString]| program(mode, line, None, &found);
        assert!(matches!(program(cluster, &line(&["./sh"])), Ok(Program::Command(_))), "in the directory");
        assert!(matches!(program(cluster, &[]), Ok(Program::Bundled)));
        assert!(matches!(program(cluster, &line(&["sh", "-c", "x"])), Ok(Program::Command(_))));
        for (mode, words) in
            [(Mode::Single, ["sh"]), (cluster, ["no-such-program"]), (cluster, ["/etc/passwd"])]
        {
            assert!(program(mode, &line(&words)).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_missing_program_is_named_with_its_place_and_a_right_one() {
        let at = Origin::File { path: Path::new("cluster.toml").into(), key: "command".to_owned(), line: 3 };
        let text = missing(OsStr::new("gone"), Some(&at));
        assert!(text.contains("\"gone\": command in cluster.toml line 3"), "{text}");
        assert!(text.contains("command = \"node server.js\"") && !text.contains("--"), "{text}");
        let text = missing(OsStr::new("A=1"), None);
        assert!(
            text.contains("env NODE_ENV=production node") && text.ends_with("-- node server.js"),
            "{text}"
        );
        assert!(missing(OsStr::new("node a.js"), None).contains("without quotes"));
    }
}
