//! Reading a cursor to its end.

use bson::{RawBsonRef, RawDocumentBuf};
use futures_util::TryStreamExt as _;
use mongodb::{error::Result, raw_batch_cursor::RawBatchCursor};

/// All documents of a cursor; its query carries the limit.
pub(super) async fn collect(mut cursor: RawBatchCursor) -> Result<Vec<RawDocumentBuf>> {
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
