//! The end of a certificate's validity.
//!
//! TLS libraries judge the certificates of others and hide this date. It stands at a fixed place of DER (RFC 5280, section 4.1).

use crate::extjson::read_time;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// The version, which certificates of version 1 do not have.
const VERSION: u8 = 0xA0;

/// Returns the end of a certificate's validity, in seconds since 1970; `None` if it cannot be read.
pub(crate) fn not_after(certificate: &[u8]) -> Option<i64> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    if let Some((_, rest)) = element(fields, VERSION) {
        fields = rest;
    }
    // Its number, the signature's algorithm, the issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, fields) = element(fields, tag)?;
    }
    let (validity, _) = element(fields, SEQUENCE)?;
    let (_, not_after) = time(validity)?;
    time(not_after).map(|(seconds, _)| seconds)
}

/// Reads a time (RFC 5280, section 4.1.2.5). Returns it with the bytes behind it.
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let (digits, rest, century) = match *der.first()? {
        UTC_TIME => {
            let (digits, rest) = element(der, UTC_TIME)?;
            let old = *digits.first()? >= b'5';
            (digits, rest, if old { "19" } else { "20" })
        }
        GENERALIZED_TIME => {
            let (digits, rest) = element(der, GENERALIZED_TIME)?;
            (digits, rest, "")
        }
        _ => return None,
    };
    let text = format!("{century}{}", std::str::from_utf8(digits).ok()?);
    let part = |from: usize, to: usize| text.get(from..to);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let date = read_time(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))?;
    Some((date.timestamp_millis() / 1_000, rest))
}

/// Reads one element with this tag. Returns its content and the bytes behind it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    const LONG: u8 = 0x80;
    let (&[found, length], rest) = der.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if length < LONG {
        (usize::from(length), rest)
    } else {
        let bytes = usize::from(length - LONG);
        let (digits, rest) = rest.split_at_checked(bytes.min(4))?;
        let length = digits
            .iter()
            .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        (length, rest)
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn the_end_of_a_certificate_is_read() {
        for (year, seconds) in [
            (1999, 946_598_400),
            (2049, 2_524_521_600),
            (2077, 3_408_134_400),
        ] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_before = date_time_ymd(1975, 1, 1);
            params.not_after = date_time_ymd(year, 12, 31);
            let made = params.self_signed(&key).unwrap();
            assert_eq!(not_after(made.der()), Some(seconds), "{year}");
            for length in 0..made.der().len() {
                // Cut short, it has no other date.
                let cut = not_after(&made.der()[..length]);
                assert!(cut.is_none(), "{length}: {cut:?}");
            }
        }
    }
}
