//! The bounds of a filter.

/// The bounds that [`Filter::parse_with`](super::Filter::parse_with) holds a filter to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The filter's size as BSON, in bytes. Default 1 MiB.
    pub filter_bytes: usize,
    /// How many conditions and logical operators it may have altogether. Default 2,000.
    pub clauses: usize,
    /// How many values one `$in`, `$nin` or `$all` may list. Default 50,000.
    pub list_values: usize,
    /// How many levels of documents and arrays it may nest, the filter itself being the first.
    /// Default 200, which is what a MongoDB server takes in a query.
    pub depth: usize,
    /// The length of one regular expression, in bytes. Default 4,096.
    pub pattern_bytes: usize,
    /// The memory that one compiled regular expression may take, in bytes. Default 256 KiB.
    pub compiled_pattern_bytes: usize,
    /// The memory that all of them may take together, each as often as it stands in the filter.
    /// Default 1 MiB: some hundred plain ones.
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
