//! Reading a cursor to its end.

use bson::{RawBsonRef, RawDocumentBuf};
use futures_util::{Stream, TryStreamExt as _};
use mongodb::{
    error::Result,
    raw_batch_cursor::{RawBatch, RawBatchCursor},
};

/// Reads all documents of a cursor, whose query carries the limit.
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

/// Reads documents of a cursor, up to `most_bytes` (the first may be larger). Returns them, and whether
/// they are all.
pub(in crate::store) async fn collect_within(
    mut cursor: impl Stream<Item = Result<RawBatch>> + Unpin,
    most_bytes: usize,
) -> Result<(Vec<RawDocumentBuf>, bool)> {
    let mut documents = Vec::new();
    let mut bytes = 0;
    while let Some(batch) = cursor.try_next().await? {
        for item in batch.doc_slices()? {
            if let RawBsonRef::Document(document) = item? {
                bytes += document.as_bytes().len();
                if bytes > most_bytes && !documents.is_empty() {
                    return Ok((documents, false));
                }
                documents.push(document.to_owned());
            }
        }
    }
    Ok((documents, true))
}
