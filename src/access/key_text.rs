//! The texts of API keys.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::text::{checksum, is_digits, random, without_checksum};

const PREFIX: &str = "tgk_";
const ID_PREFIX: &str = "key_";
const PUBLIC_DIGITS: usize = 10;
const SECRET_DIGITS: usize = 32;

/// The text of an API key: `tgk_`, a public id, `_`, a secret, and a checksum. Never shown by `Debug`.
#[derive(Clone)]
pub(crate) struct KeyText(SecretString);

impl KeyText {
    /// Makes a new key.
    pub(crate) fn mint() -> Self {
        let mut text = format!(
            "{PREFIX}{}_{}",
            random(PUBLIC_DIGITS),
            random(SECRET_DIGITS)
        );
        let sum = checksum(&text);
        text.push_str(&sum);
        Self(text.into())
    }

    /// Reads a key that a client presents; `None` if it cannot be one, or has a typo.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (public, secret) = without_checksum(text)?
            .strip_prefix(PREFIX)?
            .split_once('_')?;
        let is_key = is_digits(public, PUBLIC_DIGITS) && is_digits(secret, SECRET_DIGITS);
        is_key.then(|| Self(text.into()))
    }

    /// Whether a text is meant to be a key.
    pub(crate) fn is_meant(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Returns the `_id` of the key's document.
    pub(crate) fn id(&self) -> String {
        let text = self.0.expose_secret();
        let public = &text[PREFIX.len()..PREFIX.len() + PUBLIC_DIGITS];
        format!("{ID_PREFIX}{public}")
    }

    /// Returns the SHA-256 of the whole text, which is all that is stored of it. The secret has 190 random bits, so
    /// nothing slower is needed.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose_secret()).into()
    }

    /// Returns the text. Whoever calls this shows it to its owner, once.
    pub(crate) fn reveal(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyText({})", self.id())
    }
}

/// Returns the beginning of the text of the key with this `_id`, as lists show it.
pub(crate) fn shown_prefix(id: &str) -> String {
    let public = id.strip_prefix(ID_PREFIX).unwrap_or(id);
    let shown: String = public.chars().take(3).collect();
    format!("{PREFIX}{shown}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_made() {
        let key = KeyText::mint();
        let text = key.reveal().to_owned();
        assert_eq!(text.len(), 4 + 10 + 1 + 32 + 6);
        let read = KeyText::parse(&text).unwrap();
        assert_eq!(read.hash(), key.hash());
        assert_eq!(read.id(), format!("key_{}", &text[4..14]));
        assert!(KeyText::is_meant(&text));
        assert_ne!(KeyText::mint().reveal(), text);
    }

    #[test]
    fn what_is_shorter_longer_or_changed_is_no_key() {
        let key = KeyText::mint();
        let text = key.reveal();
        let hash = data_encoding::HEXLOWER.encode(&key.hash());
        let mut wrong = vec![String::new(), hash, format!("{text}x"), format!(" {text}")];
        wrong.push(text.replacen("tgk_", "tgt_", 1));
        wrong.extend((0..text.len()).map(|end| text[..end].to_owned()));
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'x' {
                "y"
            } else {
                "x"
            };
            let mut changed = text.to_owned();
            changed.replace_range(at..=at, other);
            wrong.push(changed);
        }
        for wrong in wrong {
            assert!(KeyText::parse(&wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_key_does_not_show_its_secret() {
        let key = KeyText::mint();
        let secret = &key.reveal()[15..];
        assert!(!format!("{key:?}").contains(secret));
        let shown = shown_prefix(&key.id());
        assert_eq!(shown, format!("{}…", &key.reveal()[..7]));
    }
}
