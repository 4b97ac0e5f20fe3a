//! The measures of a filter that are bounded as a whole.

use super::limits::Limits;

/// Most levels that all paths above an `$elemMatch` go through together. A document is never that deep on a
/// server, and this bounds the stack that a match takes.
const MAX_PATH_LEVELS: usize = 600;

/// The size of a parsed filter, in the measures that add up when filters are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Bytes as BSON.
    pub(super) bytes: usize,
    /// Conditions and logical operators.
    pub(super) clauses: usize,
    /// Levels of documents and arrays, the filter itself among them.
    pub(super) levels: usize,
    /// Levels that the paths above the deepest `$elemMatch` go through, operators counted along.
    pub(super) path_levels: usize,
    /// Bytes that the regular expressions compile to, each as often as it stands in the filter.
    pub(super) compiled_bytes: usize,
}

/// A bound that is exceeded.
#[derive(Debug)]
pub(super) struct TooBig {
    /// The operator that the bound is about, if it is about one.
    pub(super) operator: Option<&'static str>,
    /// One clear sentence.
    pub(super) reason: String,
}

impl Extent {
    /// Checks every measure.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), TooBig> {
        self.check_bytes(limits)?;
        self.check_clauses(limits)?;
        self.check_levels(limits)?;
        self.check_path_levels()?;
        self.check_compiled_bytes(limits)
    }

    pub(super) fn check_bytes(&self, limits: &Limits) -> Result<(), TooBig> {
        let most = limits.filter_bytes;
        check(self.bytes <= most, None, || {
            format!("The filter is larger than {most} bytes.")
        })
    }

    pub(super) fn check_clauses(&self, limits: &Limits) -> Result<(), TooBig> {
        let most = limits.clauses;
        check(self.clauses <= most, None, || {
            format!("The filter has more than {most} conditions.")
        })
    }

    pub(super) fn check_levels(&self, limits: &Limits) -> Result<(), TooBig> {
        let most = limits.depth;
        check(self.levels <= most, None, || {
            format!("The filter nests deeper than {most} levels.")
        })
    }

    pub(super) fn check_path_levels(&self) -> Result<(), TooBig> {
        check(
            self.path_levels <= MAX_PATH_LEVELS,
            Some("$elemMatch"),
            || format!("Paths in nested $elemMatch go through more than {MAX_PATH_LEVELS} levels."),
        )
    }

    pub(super) fn check_compiled_bytes(&self, limits: &Limits) -> Result<(), TooBig> {
        let most = limits.compiled_bytes;
        check(self.compiled_bytes <= most, Some("$regex"), || {
            format!(
                "The regular expressions of the filter compile to more than {most} bytes together."
            )
        })
    }
}

fn check(
    holds: bool,
    operator: Option<&'static str>,
    reason: impl FnOnce() -> String,
) -> Result<(), TooBig> {
    if holds {
        return Ok(());
    }
    let reason = reason();
    Err(TooBig { operator, reason })
}
