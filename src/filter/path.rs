//! What a dotted path leads to in a document.
//!
//! A path goes through embedded documents by name. At an array it goes on in every element that
//! is a document, and, where the next component is a number, in the element at that place too. An
//! array at the end of the path gives its elements and then itself. A path that leads nowhere gives
//! the absent value (`None`) once, except below arrays, where only documents can lack a field.

use bson::spec::ElementType;

use super::value::{Value, field};

/// How many arrays within arrays a walk enters. A server stores no document that deep.
const MAX_ARRAYS: usize = 200;

/// What an array at the end of a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// Its elements, then itself.
    Elements,
    /// Itself alone.
    Whole,
}

/// Shows every value at `path` to `visit` until that returns true; whether it did.
pub(crate) fn any<'d>(
    document: &'d [u8],
    path: &[u8],
    leaf: Leaf,
    visit: &mut dyn FnMut(Option<Value<'d>>) -> bool,
) -> bool {
    Walk { leaf, visit }.document(document, path, 0)
}

struct Walk<'v, 'd> {
    leaf: Leaf,
    visit: &'v mut dyn FnMut(Option<Value<'d>>) -> bool,
}

impl<'d> Walk<'_, 'd> {
    fn document(&mut self, document: &'d [u8], path: &[u8], arrays: usize) -> bool {
        match descend(document, path) {
            (Some(array), rest) if array.is_array() => match self.leaf {
                Leaf::Whole if rest.is_empty() => (self.visit)(Some(array)),
                _ => self.array(array, rest, arrays),
            },
            (end, _) => (self.visit)(end),
        }
    }

    fn array(&mut self, array: Value<'d>, rest: &[u8], arrays: usize) -> bool {
        if arrays == MAX_ARRAYS {
            return false;
        }
        if rest.is_empty() {
            return array
                .elements()
                .any(|(_, element)| (self.visit)(Some(element)))
                || (self.visit)(Some(array));
        }
        let (place, below) = split(rest);
        let numeric = is_number(place);
        array.elements().any(|(name, element)| {
            (element.is_document() && self.document(element.bytes(), rest, arrays + 1))
                || (numeric && name == place && self.place(element, below, arrays + 1))
        })
    }

    /// The element that a numeric component names.
    fn place(&mut self, element: Value<'d>, below: Option<&[u8]>, arrays: usize) -> bool {
        match (below, element.kind()) {
            (None, _) => (self.visit)(Some(element)),
            (Some(below), ElementType::EmbeddedDocument) => {
                self.document(element.bytes(), below, arrays)
            }
            (Some(below), ElementType::Array) => self.array(element, below, arrays),
            _ => false,
        }
    }
}

/// Follows `path` through embedded documents up to its end or the first array. Gives what is
/// there and the part of the path that is left; an empty last component counts as nothing left.
fn descend<'d, 'p>(mut document: &'d [u8], mut path: &'p [u8]) -> (Option<Value<'d>>, &'p [u8]) {
    loop {
        let (name, rest) = split(path);
        match (field(document, name), rest) {
            (Some(value), rest) if value.is_array() => {
                return (Some(value), rest.unwrap_or_default());
            }
            (Some(value), Some(rest)) if value.is_document() => {
                document = value.bytes();
                path = rest;
            }
            (Some(value), None) => return (Some(value), &[]),
            _ => return (None, &[]),
        }
    }
}

fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&path[..dot], Some(&path[dot + 1..])),
        None => (path, None),
    }
}

fn is_number(component: &[u8]) -> bool {
    !component.is_empty() && component.iter().all(u8::is_ascii_digit)
}
