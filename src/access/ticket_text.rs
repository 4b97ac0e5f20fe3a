//! The texts of tickets.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::text::{CHECKSUM_DIGITS, checksum, is_digits, random, without_checksum};

const PREFIX: &str = "tgt_";
const SECRET_DIGITS: usize = 32;

/// The text of a ticket: `tgt_`, a secret, and a checksum. Never shown by `Debug`.
pub(crate) struct TicketText(SecretString);

impl TicketText {
    /// Makes a new ticket.
    pub(crate) fn mint() -> Self {
        let mut text = format!("{PREFIX}{}", random(SECRET_DIGITS));
        text.reserve(CHECKSUM_DIGITS);
        let sum = checksum(&text);
        text.push_str(&sum);
        Self(text.into())
    }

    /// Reads a ticket that a client presents; `None` if it cannot be one, or has a typo.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let secret = without_checksum(text)?.strip_prefix(PREFIX)?;
        is_digits(secret, SECRET_DIGITS).then(|| Self(text.into()))
    }

    /// Returns the `_id` of the ticket's document: the SHA-256 of the text, in hex. The secret has 190 random bits.
    pub(crate) fn id(&self) -> String {
        let digest = Sha256::digest(self.0.expose_secret());
        data_encoding::HEXLOWER.encode(&digest)
    }

    /// Returns the text. Whoever calls this shows it to the one who asked for it, once.
    pub(crate) fn reveal(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for TicketText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketText(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_as_it_was_made_and_nothing_else_is() {
        let ticket = TicketText::mint();
        let text = ticket.reveal();
        assert_eq!(text.len(), 4 + 32 + 6);
        assert_eq!(TicketText::parse(text).unwrap().id(), ticket.id());
        assert!(!format!("{ticket:?}").contains(&text[4..]));
        let key = text.replacen("tgt_", "tgk_", 1);
        for wrong in ["", &text[1..], &text[..text.len() - 1], &ticket.id(), &key] {
            assert!(TicketText::parse(wrong).is_none(), "{wrong}");
        }
        assert_ne!(TicketText::mint().id(), ticket.id());
    }
}
