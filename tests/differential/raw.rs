//! Documents that only raw bytes can express: repeated names, odd array keys, text that is not UTF-8.

use bson::{RawDocumentBuf, doc};

use super::harness::Outcome;

/// Makes a document with the fields in `elements`, which are BSON elements one after the other.
fn raw(id: u8, elements: &[u8]) -> RawDocumentBuf {
    let length = u32::try_from(elements.len() + 14).expect("a short document");
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend([0x10, b'_', b'i', b'd', 0, id, 0, 0, 0]);
    bytes.extend(elements);
    bytes.push(0);
    RawDocumentBuf::from_bytes(bytes).expect("a document")
}

#[tokio::test]
async fn documents_of_raw_bytes() {
    let documents = [
        // Two fields called a: 1 and 2.
        raw(0, b"\x10a\0\x01\0\0\0\x10a\0\x02\0\0\0"),
        // An array with the keys 1 and 0.
        raw(1, b"\x04a\0\x13\0\0\0\x101\0\x05\0\0\0\x100\0\x06\0\0\0\0"),
        // An array with the key b.
        raw(2, b"\x04a\0\x0c\0\0\0\x10b\0\x05\0\0\0\0"),
        // A string that is not UTF-8.
        raw(3, b"\x02a\0\x04\0\0\0a\xffb\0"),
        // A name that is not UTF-8.
        raw(4, b"\x10\xff\0\x01\0\0\0\x10a\0\x07\0\0\0"),
        // A boolean true, and a string with a NUL in it.
        raw(5, b"\x08a\0\x01\x02b\0\x04\0\0\0a\0b\0"),
    ];
    let filters = [
        doc! {"a": 1},
        doc! {"a": 2},
        doc! {"a.0": 5},
        doc! {"a.0": 6},
        doc! {"a.1": 5},
        doc! {"a.b": 5},
        doc! {"a": [5, 6]},
        doc! {"a": [5]},
        doc! {"a": {"$in": [[5, 6]]}},
        doc! {"a": {"$gt": [5, 6]}},
        doc! {"a": {"$lt": [5, 6]}},
        doc! {"a": {"$regex": "a"}},
        doc! {"a": {"$regex": "."}},
        doc! {"a": {"$regex": ""}},
        doc! {"a": {"$gt": "a"}},
        doc! {"a": {"$gt": "b"}},
        doc! {"a": 7},
        doc! {"a": true},
        doc! {"a": {"$size": 2}},
        doc! {"b": "a\0b"},
        doc! {"b": {"$gt": "a"}},
        doc! {"a": {"$elemMatch": {"$eq": 5}}},
        doc! {"a": {"$type": 2}},
        doc! {"a": {"$not": {"$regex": "a"}}},
    ];
    let harness = super::harness().await;
    harness.replace_raw(&documents).await;
    for filter in filters {
        let ours = super::harness::ask_ourselves(&filter, &documents).expect("a legal filter");
        assert_eq!(harness.ask_server(&filter).await, ours, "{filter}");
        assert!(matches!(ours, Outcome::Selected(_)));
    }
}
