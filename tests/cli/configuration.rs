//! docs/configuration.md and the settings agree.

use std::collections::BTreeMap;

use tidegate::{
    config::{Config, Issuer, Kind, SETTINGS},
    filter,
};

const DOCUMENT: &str = include_str!("../../docs/configuration.md");

/// A row of a table: a setting by its full name, its variable, its default as TOML, and its range.
struct Row {
    variable: String,
    default: String,
    range: String,
}

/// Reads the documented settings.
fn documented() -> BTreeMap<String, Row> {
    let mut section = String::new();
    let mut rows = BTreeMap::new();
    for line in DOCUMENT.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let name = title
                .split_once("`[")
                .and_then(|(_, rest)| rest.split_once(']'));
            section = name.map_or_else(String::new, |(name, _)| format!("{name}."));
        }
        let cells: Vec<_> = line
            .split(" | ")
            .map(|cell| cell.trim_matches(['|', ' ', '`']))
            .collect();
        let Some(at) = cells.iter().position(|cell| cell.starts_with("TIDEGATE_")) else {
            continue;
        };
        // The table of other variables starts with these words.
        if at > 0 && line.starts_with('|') {
            let row = Row {
                variable: cells[at].to_owned(),
                default: cells[at + 1].to_owned(),
                range: cells[at + 2].to_owned(),
            };
            rows.insert(format!("{section}{}", cells[0]), row);
        }
    }
    rows
}

/// The structs of the sections, as their debug output begins.
const SECTIONS: [&str; 11] = [
    "Limits {",
    "Socket {",
    "Feed {",
    "Node {",
    "Cors {",
    "Browser {",
    "Proxy {",
    "Tls {",
    "Quotas {",
    "Audit {",
    "Tickets {",
];
/// The section of an issuer, as the settings and the documentation name it.
const ISSUER: &str = "issuers.NAME.";

/// Lists the fields of an issuer by its debug output.
fn issuer_fields() -> impl Iterator<Item = String> {
    let shown = format!("{:#?}", Issuer::default());
    let lines: Vec<_> = shown.lines().map(str::to_owned).collect();
    lines.into_iter().filter_map(|line| {
        let depth = line.len() - line.trim_start().len();
        let (name, _) = line.trim().split_once(": ").filter(|_| depth == 4)?;
        Some(format!("{ISSUER}{name}"))
    })
}

/// Lists the fields of the structs by their debug output. Nothing else lists them.
fn fields() -> Vec<String> {
    let mut fields: Vec<_> = issuer_fields().collect();
    let mut section = String::new();
    for line in format!("{:#?}", Config::default()).lines() {
        let depth = line.len() - line.trim_start().len();
        let Some((name, value)) = line.trim().split_once(": ") else {
            continue;
        };
        match depth {
            4 if SECTIONS.contains(&value) => {
                section = format!("{name}.");
            }
            4 => fields.push(name.to_owned()),
            8 => fields.push(format!("{section}{name}")),
            _ => {}
        }
    }
    // This field says that the command is `tidegate dev`. Nobody can set it.
    fields.retain(|field| field != "cors.local");
    // Its parts are above.
    fields.retain(|field| field != "issuers");
    fields.sort();
    fields
}

fn example() -> &'static str {
    let (_, rest) = DOCUMENT.split_once("## A complete file").unwrap();
    let (_, rest) = rest.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn every_setting_is_documented_and_nothing_else() {
    let documented: Vec<_> = documented().into_keys().collect();
    assert_eq!(documented, fields());
    assert!(documented.len() > 40, "the fields were not found");
}

#[test]
fn every_setting_has_the_documented_range() {
    let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    names.sort_unstable();
    assert_eq!(names, fields());
    let documented = documented();
    for setting in SETTINGS {
        let range = setting.kind.to_string();
        assert_eq!(documented[setting.name].range, range, "{}", setting.name);
    }
}

#[test]
fn no_filter_may_be_larger_than_filters_are_read() {
    let limits = filter::Limits::default();
    for (name, bound) in [
        ("limits.filter_bytes", limits.filter_bytes),
        ("limits.filter_depth", limits.depth),
        ("limits.filter_clauses", limits.clauses),
        ("limits.filter_values", limits.list_values),
    ] {
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        let Kind::Number(_, most) = setting.unwrap().kind else {
            panic!("{name} is no number");
        };
        assert_eq!(most, bound as u64, "{name}");
    }
}

#[test]
fn variables_and_defaults_are_as_documented() {
    let example: BTreeMap<_, _> = example_values();
    for (setting, row) in documented() {
        let variable = format!("TIDEGATE_{}", setting.replace('.', "__").to_uppercase());
        assert_eq!(row.variable, variable);
        if setting.starts_with(ISSUER) {
            continue;
        }
        assert_eq!(example.get(&setting), Some(&row.default), "{setting}");
    }
}

/// Reads the lines of the example by full name.
fn example_values() -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut values = BTreeMap::new();
    for line in example().lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((name, value)) = line.split_once(" = ") {
            values.insert(format!("{section}{name}"), value.to_owned());
        }
    }
    values
}

#[test]
fn the_complete_file_holds_the_defaults() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), example()).unwrap();
    assert_eq!(
        Config::load(Some(file.path()), &[]).unwrap().config,
        Config::default()
    );
}

fn load(toml: &str) -> Config {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    Config::load(Some(file.path()), &[]).unwrap().config
}

#[test]
fn the_example_of_an_issuer_is_taken_and_defaults_are_as_documented() {
    let (_, section) = DOCUMENT.split_once("## Issuers of tokens").unwrap();
    let (_, rest) = section.split_once("```toml\n").unwrap();
    let example = rest.split_once("```").unwrap().0;
    assert_eq!(load(example).issuers.len(), 1);
    let needed = ["issuer", "audience", "jwks_url", "tenant_claim", "scopes"];
    let least = example.lines().filter(|line| {
        let name = line.split(" = ").next().unwrap();
        line.starts_with('[') || needed.contains(&name)
    });
    let least = least.collect::<Vec<_>>().join("\n");
    let mut with_defaults = least.clone();
    for (setting, row) in documented() {
        let Some(name) = setting.strip_prefix(ISSUER) else {
            continue;
        };
        if !needed.contains(&name) {
            with_defaults = format!("{with_defaults}\n{name} = {}", row.default);
        }
    }
    assert_eq!(load(&with_defaults), load(&least));
}
