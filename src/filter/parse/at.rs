//! Places in a filter, for the parser's errors and bounds.

use super::super::error::{FilterError, push_segment};

/// A place in the filter: a list towards the root, on the stack.
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    segment: &'a str,
    depth: usize,
}

impl At<'_> {
    /// Returns the place of the filter itself.
    pub(super) fn root() -> At<'static> {
        At {
            parent: None,
            segment: "",
            depth: 0,
        }
    }

    /// Returns the place of the member or element `segment`.
    pub(super) fn then<'b>(&'b self, segment: &'b str) -> At<'b> {
        At {
            parent: Some(self),
            segment,
            depth: self.depth + 1,
        }
    }

    /// Returns the number of steps from the root.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Returns the number of path components from the root, operators included.
    pub(super) fn components(&self) -> usize {
        let places = std::iter::successors(Some(self), |at| at.parent);
        places.map(|at| at.segment.split('.').count()).sum()
    }

    fn write(&self, pointer: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(pointer);
            push_segment(pointer, self.segment);
        }
    }
}

/// Makes the error of a refusal at a place.
pub(super) fn refuse(
    operator: Option<&str>,
    at: &At<'_>,
    reason: impl Into<String>,
) -> FilterError {
    let mut pointer = String::new();
    at.write(&mut pointer);
    FilterError {
        operator: operator.map(str::to_owned),
        pointer,
        reason: reason.into(),
    }
}
