//! The mutations in tests/mutations still fit the code, and name tests that exist. They are run by
//! `tests/mutations/run`, which takes longer.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked as tests for tests, not what they call"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn patches() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mutations");
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "patch")
        })
        .collect()
}

#[test]
fn every_mutation_applies_to_the_code_as_it_is() {
    let patches = patches();
    assert!(patches.len() >= 10, "{patches:?}");
    for patch in patches {
        let check = Command::new("git")
            .args(["apply", "--check"])
            .arg(&patch)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&check.stderr);
        assert!(check.status.success(), "{}: {error}", patch.display());
    }
}

/// The text of every source and test file.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_mutation_says_what_it_breaks_and_names_a_test() {
    let mut code = String::new();
    for folder in ["src", "tests"] {
        sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut code,
        );
    }
    for patch in patches() {
        let text = fs::read_to_string(&patch).unwrap();
        let line = |name: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(name));
            value.unwrap_or_else(|| panic!("{} has no {name}", patch.display()))
        };
        assert!(!line("What: ").is_empty());
        let name = line("Test: ").rsplit([' ', ':']).next().unwrap();
        assert!(
            code.contains(&format!("fn {name}(")),
            "{name} does not exist"
        );
    }
}
