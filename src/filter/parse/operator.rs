//! The distinction between documents of operators and documents of fields.

use super::super::value::Value;

/// An operator with its argument, and the document around it.
#[derive(Clone, Copy)]
pub(super) struct Operator<'a> {
    pub(super) name: &'a str,
    pub(super) value: Value<'a>,
    pub(super) context: Value<'a>,
}

/// The rule by which a document is a database reference rather than one of operators.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reference {
    /// It has both `$ref` and `$id`.
    Whole,
    /// It has `$ref`, `$id` or `$db`.
    Part,
}

/// Whether a document holds operators rather than fields: its first name begins with `$`, and it is no database
/// reference.
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
