//! What is written down twice is the same: the settings in `.env.example`, in
//! README's table and in the programs; the crates in the workspace and the image.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Read by the TLS library, not by a program of ours.
const OF_LIBRARIES: [&str; 1] = ["SSL_CERT_FILE"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

fn is_name(text: &str) -> bool {
    text.len() >= 4
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// The names of settings in a program's text: whatever is called a variable, and
/// whatever has the prefix that only settings have.
fn settings_in(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            settings_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = read(&path);
            let program = text.split("#[cfg(test)]").next().unwrap();
            let mut parts = program.split('"');
            let mut before = parts.next().unwrap_or_default();
            for part in parts {
                let named = before.trim_end().ends_with("variable:") || part.starts_with("CLUSTER_");
                if named && is_name(part) {
                    found.insert(part.to_owned());
                }
                before = part;
            }
        }
    }
}

fn in_programs() -> BTreeSet<String> {
    let mut found = BTreeSet::from(OF_LIBRARIES.map(str::to_owned));
    for program in ["balancer", "worker", "shared"] {
        settings_in(&root().join(program).join("src"), &mut found);
    }
    found
}

#[test]
fn env_example_lists_every_setting_and_no_other() {
    let listed: BTreeSet<String> = read(root().join(".env.example"))
        .lines()
        .filter_map(|line| Some(line.trim_start_matches('#').split_once('=')?.0.to_owned()))
        .filter(|name| is_name(name))
        .collect();
    assert_eq!(listed, in_programs());
}

#[test]
fn the_table_of_the_readme_lists_every_setting_and_no_other() {
    let readme = read(root().join("README.md"));
    let section = readme.split("\n## ").find(|section| section.starts_with("Configuration")).unwrap();
    let listed: BTreeSet<String> = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .map(|code| code.split('=').next().unwrap().to_owned())
        .filter(|name| is_name(name))
        .collect();
    assert_eq!(listed, in_programs());
}

#[test]
fn the_image_is_built_from_all_crates() {
    let manifest = read(root().join("Cargo.toml"));
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let (dockerfile, ignored) = (read(root().join("Dockerfile")), read(root().join(".dockerignore")));
    for member in members.split('"').skip(1).step_by(2) {
        let top = member.split('/').next().unwrap();
        assert!(dockerfile.contains(&format!("\nCOPY {top} {top}\n")), "{top} is not copied");
        assert!(ignored.contains(&format!("\n!{top}\n")), "{top} is ignored");
    }
}
