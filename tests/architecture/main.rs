//! The layout of the crate is a promise: imports point down one list only, and inside a room in no
//! circle. The words of the doc comments are one too.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked as tests for tests, not what they call"
)]

mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use self::source::{ModulePath, Source, arrows, doc_comments, read, rust_files, sources};

/// Modules from the top down. A module may import those below it, never those above; modules of one
/// row may import each other. ARCHITECTURE.md shows the same table.
const ROWS: [&[&str]; 20] = [
    &["main"],
    &["cli"],
    &["node"],
    &["http"],
    &["session"],
    &["carrier", "history"],
    &["positions", "receipts"],
    &["retry_writer"],
    &["turns"],
    &["feed"],
    &["identity"],
    &["router"],
    &["store"],
    &["subscription"],
    &["access"],
    &["filter"],
    &["client"],
    &["event", "protocol"],
    &["position", "extjson", "budget"],
    &["config", "telemetry", "mongod"],
];

fn row(module: &str) -> usize {
    ROWS.iter()
        .position(|row| row.contains(&module))
        .unwrap_or_else(|| panic!("{module} is not in the table"))
}

#[test]
fn imports_point_down_the_list_only() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for source in sources() {
        let module = &source.module[0];
        for import in source.imports.iter().chain(&source.test_imports) {
            let Some(import) = import.first().filter(|name| name.as_str() != "tests") else {
                continue;
            };
            if import.starts_with(char::is_uppercase) {
                continue;
            }
            seen += 1;
            if import != module && row(import) < row(module) {
                wrong.push(format!("{module} imports {import}"));
            }
        }
    }
    assert!(seen > 50, "the imports were not found");
    assert_eq!(wrong, Vec::<String>::new());
}

/// A client sees the service from outside, and the service does not know its clients.
#[test]
fn only_the_command_line_uses_the_client() {
    for source in sources() {
        let mut imports = source.imports.iter().chain(&source.test_imports);
        let uses = imports.any(|import| import.first().is_some_and(|name| name == "client"));
        let module = source.module[0].as_str();
        assert!(
            ["cli", "client", "main"].contains(&module) || !uses,
            "{module} uses client"
        );
    }
}

/// The rooms of the big modules, each from the top down.
const ROOMS: [(&str, &[&str]); 5] = [
    (
        "http",
        &["calls", "layers", "stream", "resources", "openapi", "edge"],
    ),
    (
        "feed",
        &[
            "oversized",
            "load",
            "report",
            "undated",
            "assembly",
            "repair",
            "backoff",
            "delete_history",
            "oplog_history",
            "resume_point",
            "stream",
            "pipeline",
            "failure",
            "decode",
        ],
    ),
    (
        "router",
        &[
            "revoke",
            "refresh",
            "ended_rights",
            "lifecycle",
            "narrow",
            "figures",
            "several",
            "subscribe",
            "unmatchable",
            "notify",
            "shed",
            "deliver",
            "handle",
            "credentials",
            "backlog",
            "change",
            "charge",
            "encode",
            "compile",
            "observe",
            "table",
            "registry",
            "counters",
            "outbox",
            "opened",
            "alive",
            "incarnation",
            "lock",
        ],
    ),
    (
        "store",
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
        &[
            "listener", "several", "publish", "socket", "http", "error", "problem", "acks",
            "frame", "backoff",
        ],
    ),
];

#[test]
fn imports_inside_the_big_modules_point_down_the_list_only() {
    let inside = arrows_inside(&sources());
    for (module, rooms) in ROOMS {
        let row = |room: &str| {
            let row = rooms.iter().position(|name| *name == room);
            row.unwrap_or_else(|| panic!("{module}::{room} is not in the table"))
        };
        let arrows = &inside[&vec![module.to_owned()]];
        assert!(arrows.len() > 4, "the arrows were not found: {arrows:?}");
        for (from, to) in arrows {
            assert!(row(from) < row(to), "{module}::{from} imports {to}");
        }
    }
}

/// The arrows between the children of each module, by the module.
fn arrows_inside(sources: &[Source]) -> BTreeMap<ModulePath, BTreeSet<(String, String)>> {
    let mut inside: BTreeMap<ModulePath, BTreeSet<(String, String)>> = BTreeMap::new();
    for (from, to) in arrows(sources) {
        let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        // A module and its children are one thing.
        if shared > 0 && shared < from.len() && shared < to.len() {
            let arrow = (from[shared].clone(), to[shared].clone());
            inside
                .entry(from[..shared].to_vec())
                .or_default()
                .insert(arrow);
        }
    }
    inside
}

/// A circle of arrows, if there is one: what is left when everything that points nowhere is taken away,
/// again and again.
fn circle(mut arrows: BTreeSet<(String, String)>) -> BTreeSet<(String, String)> {
    loop {
        let from: BTreeSet<String> = arrows.iter().map(|(from, _)| from.clone()).collect();
        let to: BTreeSet<String> = arrows.iter().map(|(_, to)| to.clone()).collect();
        let before = arrows.len();
        arrows.retain(|(a, b)| from.contains(b) && to.contains(a));
        if arrows.len() == before {
            return arrows;
        }
    }
}

#[test]
fn no_circle_inside_a_room() {
    let inside = arrows_inside(&sources());
    assert!(inside.len() > 10, "the arrows were not found");
    let mut circles = Vec::new();
    for (module, arrows) in inside {
        for (from, to) in circle(arrows) {
            circles.push(format!("{}: {from} -> {to}", module.join("::")));
        }
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn the_reader_of_imports_reads_all_forms() {
    let text = "
        use crate::{config::{Config, Limits}, router::registry::Key as Name};
        pub use self::below::Thing;
        use super::beside;
        fn f() { let x = crate::store::EVENTS; g!(a, crate::feed::Feed::new()); }
        #[cfg(test)] mod tests { use super::*; use crate::server::run; }";
    let source = read(vec!["a".into(), "b".into()], text);
    let paths = |paths: &BTreeSet<ModulePath>| paths.iter().map(|path| path.join("::")).collect();
    let imports: Vec<String> = paths(&source.imports);
    assert_eq!(
        imports,
        [
            "a::b::below::Thing",
            "a::beside",
            "config::Config",
            "config::Limits",
            "feed::Feed::new",
            "router::registry::Key",
            "store::EVENTS",
        ]
    );
    let imports: Vec<String> = paths(&source.test_imports);
    assert_eq!(imports, ["a::b", "server::run"]);
    assert_eq!(source.names["Name"].join("::"), "router::registry::Key");
}

#[test]
fn a_circle_is_found_through_a_re_export() {
    let a = read(vec!["r".into(), "a".into()], "use super::B;");
    let b = read(vec!["r".into(), "b".into()], "use super::a::A;");
    let r = read(vec!["r".into()], "mod a; mod b; use self::b::B;");
    let arrow = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let inside = arrows_inside(&[a, b, r]).remove(&vec!["r".to_owned()]);
    let expected = BTreeSet::from([arrow("a", "b"), arrow("b", "a")]);
    assert_eq!(circle(inside.unwrap()), expected);
    let line = BTreeSet::from([arrow("a", "b"), arrow("b", "c")]);
    assert_eq!(circle(line), BTreeSet::new());
}

/// The thinking part of the crate stays free of I/O.
#[test]
fn the_vocabulary_and_the_filter_know_no_runtime_no_driver_no_web() {
    let pure = [
        "filter",
        "event",
        "subscription",
        "position",
        "protocol",
        "extjson",
        "budget",
    ];
    let mut files = Vec::new();
    rust_files(Path::new("src"), &mut files);
    for path in files {
        let module = path.components().nth(1).unwrap().as_os_str();
        let module = module.to_str().unwrap().trim_end_matches(".rs");
        if !pure.contains(&module) {
            continue;
        }
        for line in fs::read_to_string(&path).unwrap().lines() {
            let code = line.split("//").next().unwrap_or_default();
            for banned in ["tokio::", "mongodb::", "axum::", "hyper::"] {
                assert!(!code.contains(banned), "{} uses {banned}", path.display());
            }
        }
    }
}

/// Words with which no doc comment begins: its first sentence names the thing, or says what a function
/// does.
const QUESTIONS: [&str; 7] = ["What", "Where", "Who", "Whom", "Whose", "Whether", "How"];

fn begins_with_a_question(text: &str, of_predicate: bool) -> bool {
    let first = text.split(|c: char| !c.is_alphabetic()).next();
    first.is_some_and(|first| QUESTIONS.contains(&first) && !(of_predicate && first == "Whether"))
}

#[test]
fn doc_comments_name_the_thing() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "fuzz"] {
        rust_files(Path::new(folder), &mut files);
    }
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in files {
        for comment in doc_comments(&fs::read_to_string(&path).unwrap()) {
            seen += 1;
            if begins_with_a_question(&comment.text, comment.of_predicate) {
                wrong.push(format!("{}: {}", path.display(), comment.text));
            }
        }
    }
    assert!(seen > 2_000, "the doc comments were not found: {seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn questions_are_found_in_doc_comments() {
    let text = "
        //! What this is.
        /// How many.
        const A: usize = 1;
        /// Whether it is so.
        fn f() -> Result<bool, ()> { Ok(true) }
        struct S {
            /// Whether it was so.
            s: bool,
            /// However many there are.
            n: usize,
        }";
    let wrong = doc_comments(text)
        .into_iter()
        .filter(|comment| begins_with_a_question(&comment.text, comment.of_predicate));
    let wrong: Vec<String> = wrong.map(|comment| comment.text).collect();
    assert_eq!(wrong, ["What this is.", "How many.", "Whether it was so."]);
}
