//! What `examples/README.md` says, held against the examples.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::example;

fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(example::sources()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

#[test]
fn each_example_is_in_the_table_with_its_command() {
    let table = fs::read_to_string(example::sources().join("README.md")).unwrap();
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| [")).collect();
    assert_eq!(rows.len(), examples().len());
    for directory in examples() {
        let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
        let command = example::command(&directory);
        let row = rows.iter().find(|row| row.contains(&format!("]({name}/")));
        let row = row.unwrap_or_else(|| panic!("{name} is not in the table"));
        assert!(row.contains(&format!("`{command}`")), "{name} is run by {command}");
    }
}

#[test]
fn versions_of_packages_are_exact() {
    for directory in examples() {
        if let Ok(text) = fs::read_to_string(directory.join("package.json")) {
            let package: Value = serde_json::from_str(&text).unwrap();
            for (name, version) in package["dependencies"].as_object().unwrap() {
                let version = version.as_str().unwrap();
                assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{name} {version}");
            }
        }
        let requirements = fs::read_to_string(directory.join("requirements.txt")).unwrap_or_default();
        assert!(requirements.lines().all(|line| line.contains("==")), "{requirements}");
    }
}
