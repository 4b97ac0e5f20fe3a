//! The layout of the crate is a promise: imports point down one list only.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked as tests for tests, not what they call"
)]

use std::{fs, path::Path};

/// Modules from the top down. A module may import those below it, never those above; what shares a
/// row may import each other. `docs` of it: ARCHITECTURE.md.
const ROWS: [&[&str]; 16] = [
    &["main"],
    &["cli"],
    &["node"],
    &["http"],
    &["session"],
    &["carrier", "history"],
    &["positions", "receipts"],
    &["retry_writer"],
    &["feed"],
    &["router"],
    &["store"],
    &["subscription"],
    &["filter"],
    &["client"],
    &["event", "position", "protocol", "extjson", "budget"],
    &["config", "telemetry", "mongod"],
];

fn row(module: &str) -> usize {
    ROWS.iter()
        .position(|row| row.contains(&module))
        .unwrap_or_else(|| panic!("{module} is not in the table"))
}

/// Every source file with the module that it belongs to.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let below = path.strip_prefix("src").unwrap();
            let first = below
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_str()
                .unwrap();
            let module = first.trim_end_matches(".rs").to_owned();
            found.push((module, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The top-level modules named after `crate::`, in `use` lines (also over several lines and in
/// braces) and in paths.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(braced) = rest.strip_prefix('{') {
            found.extend(top_level_names(braced));
        } else {
            found.push(name_at(rest));
        }
    }
    found.retain(|name| !name.is_empty() && name.starts_with(char::is_lowercase));
    found
}

fn name_at(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The names at the first level of a braced `use` list that has just been opened.
fn top_level_names(braced: &str) -> Vec<String> {
    let (mut depth, mut names, mut fresh) = (0, Vec::new(), true);
    for (at, c) in braced.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if depth == 0 && fresh && c.is_alphabetic() => {
                names.push(name_at(&braced[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn imports_point_down_the_list_only() {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (module, text) in files {
        if module == "lib" {
            continue;
        }
        for import in imports(&text) {
            seen += 1;
            if import != module && row(&import) < row(&module) {
                wrong.push(format!("{module} imports {import}"));
            }
        }
    }
    assert!(seen > 50, "the imports were not found");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_reader_of_imports_reads_all_forms() {
    let text = "use crate::{\n  config::{Config, Limits},\n  router::registry::Key,\n  Thing,\n};\nuse crate::feed;\nlet x = crate::store::EVENTS;";
    assert_eq!(imports(text), ["config", "router", "feed", "store"]);
}

/// A client sees the service from outside, and the service does not know its clients.
#[test]
fn only_the_command_line_uses_the_client() {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    for (module, text) in files {
        let uses = imports(&text).iter().any(|import| import == "client");
        let allowed = ["cli", "client", "main", "lib"].contains(&module.as_str());
        assert!(allowed || !uses, "{module} uses client");
    }
}

/// The rooms of the big modules, each from the top down; and imports that the test finds at least.
const ROOMS: [(&str, usize, &[&str]); 3] = [
    (
        "http",
        50,
        &["calls", "layers", "stream", "resources", "openapi", "edge"],
    ),
    (
        "store",
        20,
        &[
            "doctor",
            "migrations",
            "collections",
            "lease",
            "oplog",
            "client",
            "unreadable",
        ],
    ),
    (
        "client",
        8,
        &[
            "listener", "publish", "socket", "http", "error", "problem", "acks", "frame", "backoff",
        ],
    ),
];

/// The rooms of a module that are named after a prefix: `http::`, or `super::` in a room's own file. Those
/// of the crate `http` have other names.
fn rooms_after(prefix: &str, text: &str, rooms: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        let rest = &text[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(braced) => found.extend(top_level_names(braced)),
            None => found.push(name_at(rest)),
        }
    }
    found.retain(|name| rooms.contains(&name.as_str()));
    found
}

#[test]
fn imports_inside_the_big_modules_point_down_the_list_only() {
    for (module, least, rooms) in ROOMS {
        let row = |room: &str| rooms.iter().position(|name| *name == room);
        let mut wrong = Vec::new();
        let mut seen = 0;
        for (place, room) in rooms.iter().enumerate() {
            let folder = Path::new("src").join(module).join(room);
            let own = read(&folder.with_extension("rs"));
            let mut imports = rooms_after("super::", &own, rooms);
            let mut files = vec![(String::new(), own)];
            if folder.exists() {
                sources(&folder, &mut files);
            }
            for (_, text) in files {
                imports.extend(rooms_after(&format!("{module}::"), &text, rooms));
            }
            for import in imports {
                seen += 1;
                if row(&import) < Some(place) {
                    wrong.push(format!("{room} imports {import}"));
                }
            }
        }
        assert!(
            seen > least,
            "the imports were not found: {seen} in {module}"
        );
        assert_eq!(wrong, Vec::<String>::new(), "{module}");
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// The thinking part of the crate stays free of I/O.
#[test]
fn the_vocabulary_and_the_filter_know_no_runtime_no_driver_no_web() {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    let pure = [
        "filter",
        "event",
        "subscription",
        "position",
        "protocol",
        "extjson",
    ];
    for (module, text) in files {
        for banned in ["tokio::", "mongodb::", "axum::", "hyper::"] {
            let uses = text.lines().any(|line| {
                let code = line.split("//").next().unwrap_or_default();
                code.contains(banned)
            });
            assert!(
                !(pure.contains(&module.as_str()) && uses),
                "{module} uses {banned}"
            );
        }
    }
}
