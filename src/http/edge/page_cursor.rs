//! The cursors of lists: opaque text that holds the id of the last item and a checksum. Anybody can compute the checksum.

use bson::{Bson, Document, RawDocument, doc};
use data_encoding::BASE64URL_NOPAD;

use super::problem::{Kind, Problem};
use crate::store::check_document;

const CHECK_BYTES: usize = 4;

/// Returns the cursor that continues after the subscription with this `_id`.
pub(crate) fn encode(id: &Bson) -> Result<String, bson::error::Error> {
    let mut bytes = doc! {"s": id}.to_vec()?;
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

/// Returns the `_id` after which a page continues. Refuses text that was not issued here.
pub(crate) fn decode(cursor: &str) -> Result<Bson, Problem> {
    read(cursor).ok_or_else(|| bad_cursor("cursor"))
}

fn read(cursor: &str) -> Option<Bson> {
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
    let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
    if crc32fast::hash(body).to_be_bytes() != *check {
        return None;
    }
    let raw = RawDocument::from_bytes(body).ok()?;
    // A forged cursor may be nested so deep that parsing it would overflow the stack.
    check_document(raw).ok()?;
    Document::try_from(raw).ok()?.remove("s")
}

/// Returns the refusal of a page's cursor in the query parameter `name`.
pub(crate) fn bad_cursor(name: &str) -> Problem {
    Problem::parameter(
        Kind::BadCursor,
        name,
        "is damaged or from another list: pass nextCursor unchanged",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::oid::ObjectId;

    #[test]
    fn ids_of_any_type_come_back() {
        for id in [
            Bson::from("sub_1"),
            Bson::from("with space/ü"),
            Bson::from(5),
            Bson::ObjectId(ObjectId::new()),
            Bson::Document(doc! {"a": 1}),
        ] {
            assert_eq!(decode(&encode(&id).unwrap()).unwrap(), id);
        }
    }

    #[test]
    fn a_cursor_is_as_deep_as_a_document_may_be() {
        for (levels, is_read) in [(100, true), (1_400, false)] {
            let nested = (0..levels).fold(vec![5, 0, 0, 0, 0], |inside, _| {
                let length = i32::try_from(inside.len() + 7).unwrap().to_le_bytes();
                [&length, &[3, 0][..], &inside, &[0]].concat()
            });
            let nested = bson::RawDocumentBuf::from_bytes(nested).unwrap();
            let mut bytes = bson::rawdoc! {"s": nested}.into_bytes();
            bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
            let read = decode(&BASE64URL_NOPAD.encode(&bytes));
            assert_eq!(read.is_ok(), is_read, "{levels}");
        }
    }

    #[test]
    fn a_cursor_with_any_character_changed_is_refused() {
        let cursor = encode(&"a".into()).unwrap();
        for at in 0..cursor.len() {
            let mut changed = cursor.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(decode(&changed).unwrap_err().kind(), Kind::BadCursor);
        }
        assert!(decode("").is_err());
    }
}
