//! The bounds of a filter.

/// The bounds of a filter, checked by [`Filter::parse_with`](super::Filter::parse_with).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the filter as BSON. Default 1 MiB.
    pub filter_bytes: usize,
    /// Conditions and logical operators of the filter. Default 2,000.
    pub clauses: usize,
    /// Values of one `$in`, `$nin` or `$all`. Default 50,000.
    pub list_values: usize,
    /// Levels of documents and arrays, the filter itself being the first. Default 200, as many as a MongoDB server
    /// takes in a query.
    pub depth: usize,
    /// Bytes of one regular expression. Default 4,096.
    pub pattern_bytes: usize,
    /// Bytes of memory of one compiled regular expression. Default 256 KiB.
    pub compiled_pattern_bytes: usize,
    /// Bytes of memory of all compiled regular expressions, each as often as it stands in the filter. Default 1 MiB:
    /// some hundred plain ones.
    pub compiled_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            filter_bytes: 1 << 20,
            clauses: 2_000,
            list_values: 50_000,
            depth: 200,
            pattern_bytes: 4_096,
            compiled_pattern_bytes: 256 << 10,
            compiled_bytes: 1 << 20,
        }
    }
}
