//! One finding of a check.

/// The verdict on a finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Good,
    /// It cannot be known with the given rights.
    Unknown,
    Warning,
    Bad,
}

impl Verdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// A finding about one part of the database.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Finding {
    /// The name of the check.
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
    pub(super) found: String,
    /// The remedy, where there is one.
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Good,
            found: found.into(),
            advice: None,
        }
    }

    pub(super) fn with_advice(
        name: &'static str,
        verdict: Verdict,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            name,
            verdict,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }
}
