//! Reading a cursor to its end.

use bson::{RawBsonRef, RawDocumentBuf};
use futures_util::TryStreamExt as _;
use mongodb::{error::Result, raw_batch_cursor::RawBatchCursor};

/// All documents of a cursor; its query carries the limit.
pub(in crate::store) async fn collect(mut cursor: RawBatchCursor) -> Result<Vec<RawDocumentBuf>> {
    let mut documents = Vec::new();
    while let Some(batch) = cursor.try_next().await? {
        for item in batch.doc_slices()? {
            if let RawBsonRef::Document(document) = item? {
                documents.push(document.to_owned());
            }
        }
    }
    Ok(documents)
}

/// Documents of a cursor up to so many bytes (the first may be larger), and whether that is all.
pub(in crate::store) async fn collect_within(
    mut cursor: RawBatchCursor,
    most: usize,
) -> Result<(Vec<RawDocumentBuf>, bool)> {
    let mut documents = Vec::new();
    let mut bytes = 0;
    while let Some(batch) = cursor.try_next().await? {
        for item in batch.doc_slices()? {
            if let RawBsonRef::Document(document) = item? {
                bytes += document.as_bytes().len();
                if bytes > most && !documents.is_empty() {
                    return Ok((documents, false));
                }
                documents.push(document.to_owned());
            }
        }
    }
    Ok((documents, true))
}
