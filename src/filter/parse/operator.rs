//! Documents of operators, told from documents of fields.

use super::super::value::Value;

/// An operator with its argument, and the document it stands in.
#[derive(Clone, Copy)]
pub(super) struct Operator<'a> {
    pub(super) name: &'a str,
    pub(super) value: Value<'a>,
    pub(super) context: Value<'a>,
}

/// When a document is taken for a database reference, not for operators.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reference {
    /// When it has both `$ref` and `$id`.
    Whole,
    /// When it has `$ref`, `$id` or `$db`.
    Part,
}

/// Whether a document holds operators, not fields: its first name begins with `$`, unless it is
/// a database reference.
pub(super) fn is_operators(value: Value<'_>, reference: Reference) -> bool {
    let has = |wanted: &[u8]| value.elements().any(|(name, _)| name == wanted);
    let first = value.elements().next();
    value.is_document()
        && first.is_some_and(|(name, _)| name.starts_with(b"$"))
        && !match reference {
            Reference::Whole => has(b"$ref") && has(b"$id"),
            Reference::Part => has(b"$ref") || has(b"$id") || has(b"$db"),
        }
}
