//! The texts of secrets: random, with a checksum that tells a typo from a secret that is not known.

use rand::distr::{Alphanumeric, SampleString as _};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The digits of a checksum.
pub(super) const CHECKSUM_DIGITS: usize = 6;

/// Returns so many random digits of base 62.
pub(super) fn random(digits: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), digits)
}

/// Returns the CRC-32 of a text in base 62.
pub(super) fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes()) as usize;
    let mut digits = [b'0'; CHECKSUM_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[rest % DIGITS.len()];
        rest /= DIGITS.len();
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// Returns a text before its checksum; `None` if the checksum is of another text.
pub(super) fn without_checksum(text: &str) -> Option<&str> {
    let (head, tail) = text.split_at_checked(text.len().checked_sub(CHECKSUM_DIGITS)?)?;
    (checksum(head) == tail).then_some(head)
}

/// Whether a text is so many digits of base 62.
pub(super) fn is_digits(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_of_one_text() {
        // CRC-32 of "123456789" is 0xCBF43926, the check value of the algorithm.
        assert_eq!(checksum("123456789"), "3jZRME");
        let text = format!("abc{}", checksum("abc"));
        assert_eq!(without_checksum(&text), Some("abc"));
        for wrong in [
            "",
            "abc",
            &text[1..],
            &format!("x{text}"),
            &text.replace('a', "ä"),
        ] {
            assert_eq!(without_checksum(wrong), None, "{wrong}");
        }
    }
}
