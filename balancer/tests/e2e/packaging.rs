//! What is installed: manual pages, completions, the package, the image. What they say of
//! names, versions and licences is what the workspace says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use shared_settings::definitions;

use crate::harness::Balancer;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|err| panic!("{path}: {err}"))
}

fn generate(kind: &str) -> String {
    // It is read while it is written: a script is longer than a pipe is.
    let output = Balancer::new(&["--generate", kind]).to_start().output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The one value in `text` behind `name` and `joint`.
fn value<'a>(text: &'a str, name: &str, joint: &str) -> &'a str {
    let key = format!("{name}{joint}\"");
    let (_, rest) = text.split_once(&key).unwrap_or_else(|| panic!("{key} is not there"));
    rest.split('"').next().unwrap()
}

#[test]
fn the_manual_page_and_the_completions_know_every_flag_and_command() {
    let flags: Vec<_> = definitions::all().filter_map(|definition| definition.flag).collect();
    assert!(flags.len() > 50);
    let commands = ["status", "reload", "scale", "stop", "upgrade", "logs", "healthcheck", "check"];
    let page = generate("man").replace("\\-", "-");
    for flag in &flags {
        assert!(page.contains(&format!("--{flag}")), "{flag} is not in the manual page");
    }
    for command in commands {
        assert!(page.contains(&format!(".SS \"balancer {command}\"")), "{command}");
    }
    for (kind, quoted) in [("complete-bash", "--"), ("complete-zsh", "--"), ("complete-fish", "-l ")] {
        let script = generate(kind);
        for flag in &flags {
            assert!(script.contains(&format!("{quoted}{flag}")), "{flag} is not completed: {kind}");
        }
        assert!(commands.iter().all(|command| script.contains(command)), "{kind}");
    }
}

#[test]
fn what_cannot_be_generated_is_refused_with_what_can() {
    for arguments in [&["--generate", "pdf"][..], &["--generate"], &["--generate=pdf"]] {
        let (code, text) = Balancer::new(arguments).output();
        assert_eq!(code, 2, "{arguments:?}: {text}");
        assert!(text.contains("such as --generate man") && text.contains("complete-zsh"), "{text}");
    }
}

#[test]
fn a_shell_takes_the_completions() {
    let script = tempfile::NamedTempFile::new().unwrap();
    fs::write(script.path(), generate("complete-bash")).unwrap();
    let words = "source \"$1\"; COMP_WORDS=(balancer --strat); COMP_CWORD=1; _balancer balancer --strat balancer; \
                 echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", words, "bash"]).arg(script.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "--strategy\n", "{output:?}");
}

#[test]
fn the_version_and_the_licence_are_said_once_and_alike() {
    let workspace = read("Cargo.toml");
    let section = workspace.split_once("[workspace.package]").unwrap().1;
    let (version, licence) = (value(section, "version", " = "), value(section, "license", " = "));
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let image = read("Dockerfile");
    assert!(image.contains(&format!("ARG VERSION={version}\n")), "the image's label has another version");
    assert_eq!(value(&image, "org.opencontainers.image.licenses", "="), licence);
    let manifest = read("balancer/Cargo.toml");
    let package = manifest.split_once("[package.metadata.deb]").unwrap().1;
    assert!(!package.contains("version ="), "the package has the version of the crate");
    assert!(manifest.contains("version.workspace = true") && manifest.contains("license.workspace = true"));
    let (_, copyright) = licence.split_once(" OR ").unwrap();
    assert!(read("LICENSE").contains("Apache License") && copyright == "Apache-2.0");
    assert!(image.contains("image.description=\"") && package.contains("name = \"cluster-balancer\""));
}

#[test]
fn the_packages_settings_are_settings() {
    let text = read("deploy/debian/default");
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_'))
        .collect();
    assert!(names.len() > 2, "{names:?}");
    for name in names.iter().filter(|name| **name != "BALANCER_OPTIONS") {
        let is_known =
            definitions::all().any(|definition| definition.variables().any(|variable| variable == *name));
        assert!(is_known, "{name} is no setting");
    }
}
