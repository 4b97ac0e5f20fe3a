//! The server's own limits for a document. One that breaks them would fail a whole batch, so each document is
//! checked before a batch is sent.

use bson::{RawBsonRef, RawDocument, raw::RawElement, spec::ElementType};

/// The server's `maxBsonObjectSize`.
const MAX_BYTES: usize = 16 << 20;
/// The most levels of nesting that the server stores.
const MAX_DEPTH: usize = 180;

/// Checks a document against the limits. The error names the one that it breaks.
pub(crate) fn check(document: &RawDocument) -> Result<(), String> {
    let bytes = document.as_bytes().len();
    if bytes > MAX_BYTES {
        return Err(format!(
            "{bytes} bytes are more than the {MAX_BYTES} that MongoDB stores"
        ));
    }
    check_depth(document, 0)
}

fn check_depth(document: &RawDocument, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!(
            "nested deeper than the {MAX_DEPTH} levels that MongoDB stores"
        ));
    }
    for element in document.iter_elements() {
        let nested = element.and_then(|element| nested(&element));
        if let Some(inner) = nested.map_err(|error| error.to_string())? {
            check_depth(inner, depth + 1)?;
        }
    }
    Ok(())
}

/// Returns the document or array in an element, or the scope of its code, if it has one. Other values are not
/// read at all.
fn nested<'a>(element: &RawElement<'a>) -> bson::error::Result<Option<&'a RawDocument>> {
    if !matches!(
        element.element_type(),
        ElementType::EmbeddedDocument | ElementType::Array | ElementType::JavaScriptCodeWithScope
    ) {
        return Ok(None);
    }
    match element.value()? {
        RawBsonRef::Document(inner) => Ok(Some(inner)),
        RawBsonRef::Array(items) => RawDocument::from_bytes(items.as_bytes()).map(Some),
        RawBsonRef::JavaScriptCodeWithScope(code) => Ok(Some(code.scope)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, RawDocumentBuf, doc};

    fn nested(levels: usize, wrap: impl Fn(Bson) -> Bson) -> RawDocumentBuf {
        let value = (1..levels).fold(Bson::Document(doc! {}), |inner, _| wrap(inner));
        RawDocumentBuf::try_from(&doc! {"a": value}).unwrap()
    }

    #[test]
    fn nesting_is_bounded_in_documents_and_arrays() {
        let document = |inner| Bson::Document(doc! {"a": inner});
        let array = |inner| Bson::Array(vec![inner]);
        assert_eq!(check(&nested(180, document)), Ok(()));
        assert!(check(&nested(181, document)).is_err());
        assert_eq!(check(&nested(180, array)), Ok(()));
        assert!(check(&nested(181, array)).is_err());
        let code = |inner| {
            Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope {
                code: String::new(),
                scope: doc! {"a": inner},
            })
        };
        assert_eq!(check(&nested(180, code)), Ok(()));
        assert!(check(&nested(181, code)).is_err());
    }

    #[test]
    fn size_is_bounded() {
        let of = |bytes: usize| RawDocumentBuf::try_from(&doc! {"a": "x".repeat(bytes)}).unwrap();
        assert_eq!(check(&of(1_000)), Ok(()));
        assert!(check(&of(16 << 20)).is_err());
    }
}
