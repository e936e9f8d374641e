//! The modules of a crate form no circles: a module may be read without those that
//! use it. Reads the sources as text, as the compiler does not mind circles.
//!
//! A re-export (`pub use`) does not count, so that a parent can be a map of what its
//! children hold; a parent that is itself used by its children must not use them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Graph = BTreeMap<String, BTreeSet<String>>;

/// The source directories of all crates of this workspace.
fn crates() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap().to_owned();
    members.split('"').skip(1).step_by(2).map(|member| root.join(member).join("src")).collect()
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("bin") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// `crate::a::b` for `src/a/b.rs`; `None` for tests.
fn module_of(source: &Path, root: &Path) -> Option<String> {
    let relative = source.strip_prefix(root).unwrap().with_extension("");
    let parts: Vec<_> = relative.iter().map(|part| part.to_str().unwrap()).collect();
    if parts.last().is_some_and(|last| *last == "tests" || last.ends_with("_tests")) {
        return None;
    }
    let parts = parts.into_iter().filter(|part| !matches!(*part, "lib" | "main"));
    Some(std::iter::once("crate").chain(parts).collect::<Vec<_>>().join("::"))
}

/// The source without comments, tests and re-exports.
fn code(text: &str) -> String {
    let lines = text.split("#[cfg(test)]").next().unwrap_or_default().lines();
    let kept: Vec<_> = lines.filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut code = String::new();
    let mut rest = kept.join("\n");
    while let Some(start) =
        ["pub use ", "pub(crate) use ", "pub(super) use "].iter().filter_map(|word| rest.find(word)).min()
    {
        code.push_str(&rest[..start]);
        let end = rest[start..].find(';').map_or(rest.len(), |end| start + end + 1);
        rest = rest[end..].to_owned();
    }
    code + &rest
}

/// All paths that `use` declarations and expressions name, with braces expanded.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for statement in code.split("use ").skip(1) {
        expand("", statement.split(';').next().unwrap_or_default(), &mut found);
    }
    for start in ["crate::", "super::"] {
        for rest in code.split(start).skip(1) {
            let path: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
            found.push(format!("{start}{path}"));
        }
    }
    found
}

fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        found.push(format!("{prefix}{}", tree.split(" as ").next().unwrap_or_default().trim()));
        return;
    };
    let prefix = format!("{prefix}{}", &tree[..open]);
    let (mut depth, mut start) = (0, open + 1);
    for (index, character) in tree.char_indices().skip(open) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if (depth == 1 && character == ',') || depth == 0 {
            expand(&prefix, &tree[start..index], found);
            start = index + 1;
        }
        if depth == 0 {
            break;
        }
    }
}

/// The module that `path`, written in `module`, leads into.
fn resolve(path: &str, module: &str, modules: &BTreeSet<String>) -> Option<String> {
    let mut parts: Vec<&str> = path.split("::").collect();
    let mut at: Vec<&str> = module.split("::").collect();
    match *parts.first()? {
        "crate" => at.truncate(1),
        "self" => {}
        "super" => {
            while parts.first() == Some(&"super") {
                parts.remove(0);
                at.pop();
            }
            parts.insert(0, "super");
        }
        child if modules.contains(&format!("{module}::{child}")) => parts.insert(0, "self"),
        _ => return None,
    }
    for part in &parts[1..] {
        let deeper = format!("{}::{part}", at.join("::"));
        if !modules.contains(&deeper) {
            break;
        }
        at.push(part);
    }
    Some(at.join("::"))
}

fn graph(root: &Path) -> Graph {
    let sources = sources(root);
    let modules: BTreeSet<_> = sources.iter().filter_map(|source| module_of(source, root)).collect();
    let mut graph = Graph::new();
    for source in &sources {
        let Some(module) = module_of(source, root) else { continue };
        let code = code(&std::fs::read_to_string(source).unwrap());
        let used = paths(&code).into_iter().filter_map(|path| resolve(&path, &module, &modules));
        graph.entry(module.clone()).or_default().extend(used.filter(|used| *used != module));
    }
    graph
}

/// Modules that can be reached from themselves.
fn circles(graph: &Graph) -> Vec<String> {
    let reached = |from: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(module) = next.pop() {
            for used in graph.get(&module).into_iter().flatten() {
                if seen.insert(used.clone()) {
                    next.push(used.clone());
                }
            }
        }
        seen
    };
    graph.keys().filter(|module| reached(module).contains(*module)).cloned().collect()
}

#[test]
fn no_crate_has_a_circle_of_modules() {
    let mut wrong = Vec::new();
    for root in crates().iter().filter(|root| root.is_dir()) {
        let graph = graph(root);
        let circles = circles(&graph);
        let edges = |module: &String| {
            graph[module].iter().filter(|used| circles.contains(used)).cloned().collect::<Vec<_>>().join(", ")
        };
        wrong.extend(
            circles.iter().map(|module| format!("{}: {module} uses {}", root.display(), edges(module))),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_circle_is_found() {
    let edges = [("crate", "crate::a"), ("crate::a", "crate::b"), ("crate::b", "crate::a")];
    let mut graph = Graph::new();
    for (from, to) in edges {
        graph.entry(from.to_owned()).or_default().insert(to.to_owned());
    }
    assert_eq!(circles(&graph), ["crate::a", "crate::b"]);
}
