//! Messages about a connection string that quote nothing of it.

use std::collections::HashSet;

/// Returns the driver's reason for refusing `uri`, unless that quotes more of it than names of
/// options. Then it only says that something in it is wrong.
pub(crate) fn redacted(uri: &str, reason: &str) -> String {
    let reason = reason
        .strip_prefix("An invalid argument was provided: ")
        .unwrap_or(reason);
    let secret = values(uri);
    if words(reason).any(|word| secret.contains(&word)) {
        "an address, a name or the value of an option in it is not valid".to_owned()
    } else {
        reason.to_owned()
    }
}

/// Returns the words of a connection string, except its scheme and the names of its options.
fn values(uri: &str) -> HashSet<String> {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    let (hosts, options) = rest.split_once('?').unwrap_or((rest, ""));
    let options = options
        .split('&')
        .map(|option| option.split_once('=').map_or(option, |(_, value)| value));
    [user, hosts]
        .into_iter()
        .chain(options)
        .flat_map(words)
        .collect()
}

/// Splits text into words. Letters and digits are split from each other, so that a value is found
/// whatever stands around it.
fn words(text: &str) -> impl Iterator<Item = String> {
    let mut last = None;
    let mut word = String::new();
    let mut words = HashSet::new();
    for c in text.chars() {
        let kind = (c.is_alphabetic(), c.is_numeric());
        if last != Some(kind) {
            words.insert(std::mem::take(&mut word));
        }
        if kind != (false, false) {
            word.extend(c.to_lowercase());
        }
        last = Some(kind);
    }
    words.insert(word);
    words.remove("");
    words.into_iter()
}
