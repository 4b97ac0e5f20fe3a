//! Regular expressions, and texts that they are likely to match.

use super::random::Random;

/// Makes a short text over an alphabet in which case, newlines and word characters all matter.
pub(crate) fn text(random: &mut Random) -> String {
    let alphabet = [
        "a", "a", "b", "A", "B", "1", "_", " ", "\n", "\n", "\r", "é", "É", "k", "\u{212a}", "ſ",
        "s", "ß", "\u{1e9e}", "\t", "\u{b}", "\u{a0}", "\u{85}", "\u{2028}", "\0", "-", "😀", "σ",
        "ς",
    ];
    (0..random.below(5))
        .map(|_| random.pick(&alphabet))
        .collect()
}

/// Picks options for a pattern, rarely wrong ones.
pub(crate) fn options(random: &mut Random) -> &'static str {
    random.pick(&[
        "", "", "", "i", "m", "s", "x", "im", "is", "ms", "imsx", "u", "z",
    ])
}

/// Makes a pattern, rarely a malformed one.
pub(crate) fn pattern(random: &mut Random) -> String {
    alternatives(random, 3)
}

fn alternatives(random: &mut Random, depth: usize) -> String {
    let branches: Vec<_> = (0..=usize::from(random.one_in(4)))
        .map(|_| branch(random, depth))
        .collect();
    branches.join("|")
}

fn branch(random: &mut Random, depth: usize) -> String {
    (0..=random.below(3))
        .map(|_| piece(random, depth))
        .collect()
}

fn piece(random: &mut Random, depth: usize) -> String {
    let quantifiers = [
        "", "", "", "", "", "*", "+", "?", "{2}", "{1,2}", "{0,1}", "{1,}", "{,2}", "*?", "+?",
        "{3", "{0}", "**",
    ];
    let atom = match random.below(12) {
        0..=4 => random.pick(LITERALS).to_owned(),
        5 | 6 => random.pick(ESCAPES).to_owned(),
        7 => return random.pick(ASSERTIONS).to_owned(),
        8 | 9 => class(random),
        _ if depth == 0 => ".".to_owned(),
        10 => format!(
            "{}{})",
            random.pick(GROUPS),
            alternatives(random, depth - 1)
        ),
        _ => return random.pick(ODD).to_owned(),
    };
    atom + random.pick(&quantifiers)
}

const LITERALS: &[&str] = &[
    "a", "b", "A", "1", "_", " ", "\n", "é", "k", "K", "s", "ß", "-", ".", ".", "]", "}", "{", "#",
    "σ", "😀",
];
const ESCAPES: &[&str] = &[
    "\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "\\h", "\\H", "\\v", "\\V", "\\N", "\\n", "\\t",
    "\\x41", "\\x{e9}", "\\x", "\\012", "\\0", "\\cA", "\\.", "\\-", "\\_", "\\y", "\\e", "\\p{L}",
    "\\P{Lu}", "\\pN", "\\p{^Zs}", "\\o{101}", "\\Qa.\\E", "\\E", "\\é", "\\ ",
];
const ASSERTIONS: &[&str] = &["^", "^", "$", "$", "\\b", "\\B", "\\A", "\\z", "\\Z", "\\G"];
const GROUPS: &[&str] = &[
    "(", "(", "(?:", "(?i:", "(?-i:", "(?s:", "(?m:", "(?x:", "(?<n>",
];
const ODD: &[&str] = &[
    "(?i)",
    "(?-i)",
    "(?s)",
    "(?m)",
    "(?x)",
    "(?#c)",
    "(?)",
    "()",
    "(?i-s)",
    "\\",
    "(",
    ")",
    "[",
    "[b-a]",
    "*",
    "(?<1>a)",
    "[:alpha:]",
    "a{2,1}",
    "\\Qa",
];

fn class(random: &mut Random) -> String {
    let items = [
        "a",
        "b",
        "A",
        "a-c",
        "é",
        "k",
        "\\d",
        "\\w",
        "\\W",
        "\\s",
        "\\S",
        "[:alpha:]",
        "[:upper:]",
        "[:^digit:]",
        "[:space:]",
        "[:punct:]",
        "-",
        "^",
        "\\n",
        "\\x41-\\x43",
        "\\]",
        ".",
        "$",
        "\\h",
        "\\b",
        "à-ü",
        "\\p{L}",
        "[",
        "[:word:]",
        "\\-",
        "#",
        " ",
        "[:foo:]",
        "\\1",
        "a-\\d",
        "σ",
    ];
    let negation = if random.one_in(3) { "^" } else { "" };
    let first = if random.one_in(12) { "]" } else { "" };
    let items: String = (0..=random.below(3)).map(|_| random.pick(&items)).collect();
    format!("[{negation}{first}{items}]")
}
