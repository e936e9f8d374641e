//! What is written down twice is the same: settings in definitions, help and
//! documents; the crates in the workspace and the image.
//!
//! That `.env.example` and `docs/configuration.md` list exactly the definitions
//! is held by shared-settings, which generates them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use shared_settings::definitions;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// The words in `text` that begin with `prefix` and go on with letters, digits and `joints`.
fn words<'a>(text: &'a str, prefix: &'a str, joint: char) -> impl Iterator<Item = &'a str> {
    let is_part = move |letter: char| letter.is_ascii_alphanumeric() || letter == joint;
    text.match_indices(prefix).filter_map(move |(begin, _)| {
        if text[..begin].ends_with(is_part) {
            return None;
        }
        let end = text[begin..].find(|letter| !is_part(letter)).unwrap_or(text.len() - begin);
        Some(&text[begin..begin + end])
    })
}

fn variables() -> BTreeSet<&'static str> {
    definitions::all().flat_map(|definition| definition.variables()).collect()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "tests" && name != "definitions") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// A name with the prefix that only settings have, and no definition, is a setting
/// that nobody has documented.
#[test]
fn every_setting_in_the_programs_has_a_definition() {
    let mut files = Vec::new();
    for program in ["balancer", "worker", "shared", "verify", "loadtest"] {
        sources(&root().join(program), &mut files);
    }
    assert!(files.len() > 100, "the sources were found");
    for file in files {
        let text = read(&file);
        for (begin, _) in text.match_indices("\"CLUSTER_") {
            let name = words(&text[begin + 1..], "CLUSTER_", '_').next().unwrap();
            // The prefix alone is how they are told from others.
            assert!(
                name == "CLUSTER_" || variables().contains(name),
                "{name} in {} has no definition",
                file.display()
            );
        }
    }
}

#[test]
fn the_help_lists_every_flag_and_variable() {
    let output = Command::new(env!("CARGO_BIN_EXE_balancer")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let (flags, names): (BTreeSet<_>, BTreeSet<_>) = (
        words(&help, "--", '-').collect(),
        help.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect(),
    );
    for definition in definitions::all() {
        let Some(flag) = definition.flag else { continue };
        assert!(flags.contains(&*format!("--{flag}")), "--{flag} is missing in: {help}");
        assert!(names.contains(definition.variable), "{} is missing in: {help}", definition.variable);
    }
}

#[test]
fn documents_name_no_setting_that_there_is_not() {
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let others = ["README.md", ".env.example", "deploy/README.md", "docker-compose.yml"];
    let documents: Vec<_> = pages.chain(others.map(|name| root().join(name))).collect();
    assert!(documents.len() > 15, "the pages were found");
    for document in documents {
        let text = read(&document);
        for name in words(&text, "CLUSTER_", '_') {
            assert!(
                name == "CLUSTER_" || variables().contains(name),
                "{} names {name}, and there is no such setting",
                document.display()
            );
        }
    }
    let settings = read(root().join("docs/configuration.md"));
    let table = settings.split("\n## ").find(|section| section.starts_with("Most used")).unwrap();
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| `--")).collect();
    assert_eq!(rows.len(), 11);
    for row in rows {
        let definition = definitions::all()
            .find(|definition| definition.flag.is_some_and(|flag| row.starts_with(&format!("| `--{flag} "))));
        let variable = definition.unwrap_or_else(|| panic!("there is no such flag: {row}")).variable;
        assert!(row.contains(&format!("| `{variable}` |")), "{variable} is not in its row: {row}");
    }
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
