//! An example as it lies in `examples/`, and as it is installed.

use std::fs;
use std::path::{Path, PathBuf};

/// Files that may be the main one, which has the command in its first line.
const MAIN_FILES: &[&str] =
    &["server.js", "pages/index.js", "app.py", "config.ru", "index.php", "main.go", "Main.java", "Caddyfile"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where the examples lie.
pub(crate) fn sources() -> PathBuf {
    root().join("examples")
}

/// Where `.ci/frameworks` puts them.
pub(crate) fn installed() -> PathBuf {
    root().join("target/frameworks").canonicalize().expect("the examples are installed: .ci/frameworks")
}

/// The command line in the first line of the example in this directory.
pub(crate) fn command(directory: &Path) -> String {
    let file = MAIN_FILES.iter().map(|file| directory.join(file)).find(|file| file.exists());
    let file = file.unwrap_or_else(|| panic!("{} has no main file", directory.display()));
    let text = fs::read_to_string(&file).unwrap();
    let line = text.lines().next().unwrap_or_default();
    let start = line
        .find("balancer --workers 4 ")
        .unwrap_or_else(|| panic!("{} does not begin with its command", file.display()));
    line[start..].to_owned()
}
