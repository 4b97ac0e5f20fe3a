//! Regular expressions one by one, against the server's PCRE.

use bson::{Bson, doc};

use super::harness::Outcome;

const TEXTS: &[&str] = &[
    "", "a", "A", "aaaaaa", "ab", "é", "É", "\u{8}", "5", "a\n", "\n", "\n\n", "a\nb", "b\na\n",
    "K", "k", "\u{212a}", "ſ", "E", "[", "]", "b1", "\u{1}", "8", "A\u{1}", "\r\n", "\u{b}",
    "\u{a0}", "\u{85}", "_", "-", "a b", "ß", "\u{1e9e}", "İ", "ı", "i", "I", "Σ", "σ", "ς", "Ა",
    "ა", "Ꭰ", "ꭰ", "x\u{0}y", "{", "a{,3}", "a{2", "*", "\\", "😀",
];

/// Patterns on which both must agree, refusals included.
const PATTERNS: &[&str] = &[
    "a{2}{3}",
    "a**",
    "a+*",
    "^*",
    "$*",
    "\\b+",
    "(?i)*",
    "*",
    "+a",
    "?",
    "{2}",
    "a{,3}",
    "a{2",
    "a{2,1}",
    "a{65536}",
    "x{1001}",
    "a|*",
    "(?#c)a",
    "a(?#c)*",
    "a*(?#c)?",
    "(?:)",
    "()",
    "(|)",
    "(?i",
    "(",
    "a)",
    "a)(b",
    "[",
    "[]",
    "[]a]",
    "[^]a]",
    "[a",
    "[z-a]",
    "[\\d-z]",
    "[a-\\d]",
    "[a-\\w]",
    "[[:alpha:]]",
    "[[:foo:]]",
    "[:alpha:]",
    "[[.a.]]",
    "[[=a=]]",
    "[[:^alpha:]]",
    "[a[:digit:]b]",
    "[[:upper:]]",
    "[[:lower:]]",
    "[[:punct:]]",
    "[[:space:]]",
    "[[:cntrl:]]",
    "[[:graph:]]",
    "[[:print:]]",
    "[[:word:]]",
    "[[:blank:]]",
    "[[:xdigit:]]",
    "[[:ascii:]]",
    "[[:alpha]",
    "[[:a]:]]",
    "\\",
    "\\Qa",
    "\\Qa*\\E",
    "\\E",
    "\\Q\\E*",
    "a\\Q\\E*",
    "\\Qab\\E+",
    "\\c",
    "\\cA",
    "\\cé",
    "\\x",
    "\\x{}",
    "\\x{41}",
    "\\x{110000}",
    "\\x{d800}",
    "\\x4",
    "\\xzz",
    "\\o{101}",
    "\\o{}",
    "\\o",
    "\\08",
    "\\0",
    "\\012",
    "\\1",
    "[\\1]",
    "[\\8]",
    "[\\b]",
    "[\\N]",
    "[\\h]",
    "\\N",
    "\\N{a}",
    "\\u0041",
    "\\U",
    "\\L",
    "\\l",
    "\\y",
    "\\i",
    "\\_",
    "\\é",
    "\\F",
    "\\p{L}",
    "\\p{Lu}",
    "\\pL",
    "\\p{^Lu}",
    "\\P{^L}",
    "\\p{Foo}",
    "\\p{L&}",
    "\\p{Any}",
    "\\p",
    "\\p{",
    "\\p{ L}",
    "\\G",
    "\\Ga",
    "\\A",
    "\\Z",
    "\\z",
    "\\H",
    "\\V",
    "\\v",
    "\\h",
    "\\d",
    "\\D",
    "\\w",
    "\\W",
    "\\s",
    "\\S",
    "\\ba",
    "a\\b",
    "\\B",
    "\\Ba",
    "(?<n>a)",
    "(?P<n>a)",
    "(?'n'a)",
    "(?<n>a)(?<n>b)",
    "(?<1>a)",
    "(?<>a)",
    "(?P=n)",
    "(?P>n)",
    "(?&n)",
    "(?R)",
    "(?1)",
    "(?i)a",
    "(?i-i)a",
    "(?^i)a",
    "(?i:a)",
    "(?-i:a)",
    "(?imsx-imsx:a)",
    "(?a)",
    "(?u)a",
    "(?)",
    "(?:a",
    "(?:a|b",
    "(?-)",
    "(?--i)",
    "(?i-)a",
    "(?x) a",
    "(?x)a #b",
    "(?x)a #b\n",
    "(?x)a + ?",
    "(?x)[ ]",
    "(?x)\\ ",
    "(?<n",
    "(?P<n>",
    "(?Pn)",
    "(?#abc",
    "a(?#",
    "[--a]",
    "[a-]",
    "[-a]",
    "[a-c-e]",
    "[\\w-a]",
    "[[:alpha:]-z]",
    "[a-[:digit:]]",
    "[\\x{100}-\\x{200}]",
    "[^\\x{100}]",
    "(?i)[^k]",
    "\\d\\",
    "(?P<a234567890123456789012345678901234>x)",
    "(?<a-b>x)",
    "(?i)(?-i)A",
    "(?i)k",
    "(?i)\u{212a}",
    "(?i)s",
    "(?i)ß",
    "(?i)İ",
    "(?i)ı",
    "(?i)i",
    "(?i)σ",
    "(?i)ა",
    "(?i)Ꭰ",
    "(?i)[a-z]",
    "(?i)\\w",
    "(?i)[\\w]",
    "(?i)[[:upper:]]",
    "(?i)[[:^upper:]]",
    "(?i)\\p{Lu}",
    "(?i)\\x{212a}",
    "a$",
    "a\\Z",
    "a\\z",
    "^a$",
    "^$",
    "$",
    "a|b$",
    "(a|b)$",
    "a$|b",
    "(a$)?",
    "(?m)^a",
    "(?m)a$",
    "(?m)^$",
    "(?m)a\n^",
    "(?m)^",
    "(?m)b$",
    "(?m)^b",
    "(?m)\\Aa",
    "(?m)^\\n",
    "(?s).b",
    ".b",
    "a.b",
    "(?s)a.b",
    "a(?i)b|C",
    "(a(?i)b|C)d|e",
    "\\-",
    "\\#",
    "\\ ",
    "a{0}",
    "a{0,0}b",
    "(){3}",
    "((a*)*)*",
    "(a|ab)(c|bcd)*",
    "x\\0y",
    "x\\x00y",
    "]",
    "}",
    "{",
    "a{",
    "a{x}",
    "\\{",
    "[\\]]",
    "[\\\\]",
    "[^\\n]",
    "[\\r\\n]",
    "\\e",
    "\\f",
    "\\a",
    "\\t",
    "\\r",
    "[\\e]",
    "\\x{1F600}",
    "[😀]",
    "(?i)[\\x{2c2f}]",
];

/// Both agree on every text, or both refuse the pattern.
#[tokio::test]
async fn patterns_match_as_in_pcre() {
    let documents: Vec<_> = TEXTS.iter().map(|text| doc! {"a": *text}).collect();
    let harness = super::harness().await;
    let raw = harness.replace_documents(&documents).await;
    for pattern in PATTERNS {
        for options in ["", "i", "m", "s", "x"] {
            let filter = doc! {"a": {"$regex": *pattern, "$options": options}};
            let server = harness.ask_server(&filter).await;
            match (server, super::harness::ask_ourselves(&filter, &raw)) {
                (Outcome::Refused(_), Err(_)) => {}
                (server, Ok(ours)) => assert_eq!(server, ours, "{filter}"),
                (server, Err(error)) => panic!("{filter}: {error}, but the server: {server:?}"),
            }
        }
    }
}

/// Tries every letter that has cases, with case ignored, against a sample of the others.
#[tokio::test]
async fn case_is_ignored_as_in_pcre() {
    let cased = |c: &char| c.to_lowercase().ne([*c]) || c.to_uppercase().ne([*c]);
    let letters: Vec<char> = ('\u{80}'..='\u{1ffff}').filter(cased).collect();
    let documents: Vec<_> = letters
        .iter()
        .map(|letter| doc! {"a": letter.to_string()})
        .collect();
    let harness = super::harness().await;
    let raw = harness.replace_documents(&documents).await;
    for chunk in letters.chunks(40) {
        let class: String = chunk.iter().step_by(3).collect();
        let filter = doc! {"a": {"$regex": format!("^[{class}]"), "$options": "i"}};
        let server = harness.ask_server(&filter).await;
        let ours = super::harness::ask_ourselves(&filter, &raw).expect("a legal filter");
        assert_eq!(server, ours, "{}", Bson::from(class));
    }
}

/// Tries every character of the basic plane, by its general category.
#[tokio::test]
async fn categories_are_those_of_pcre() {
    let characters: Vec<char> = ('\0'..='\u{ffff}').collect();
    let documents: Vec<_> = characters
        .iter()
        .map(|character| doc! {"a": character.to_string()})
        .collect();
    let harness = super::harness().await;
    let raw = harness.replace_documents(&documents).await;
    for category in [
        "Ll", "Lu", "Lo", "Mn", "Mc", "Nd", "No", "Po", "So", "Sk", "Z", "Zl", "Zp", "Cf", "L&",
        "S",
    ] {
        let filter = doc! {"a": {"$regex": format!("^\\p{{{category}}}")}};
        let server = harness.ask_server(&filter).await;
        let ours = super::harness::ask_ourselves(&filter, &raw).expect("a legal filter");
        assert!(server == ours, "{category}");
    }
}
