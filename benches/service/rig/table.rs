//! The results: a row for each comparison, with its ratio.

use std::fmt;

/// The goal of a ratio.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    pub(crate) fn holds(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(most) => ratio <= most,
            Self::AtLeast(least) => ratio >= least,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

/// One comparison.
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    /// The name and the figure of the peer, where there is one.
    pub(crate) beside: Option<(&'static str, f64)>,
    /// The goal of the ratio, or of our own figure where there is no peer.
    pub(crate) goal: Option<Goal>,
}

impl Row {
    /// Returns our figure divided by the peer's, or our own where there is no peer.
    pub(crate) fn ratio(&self) -> f64 {
        self.beside
            .map_or(self.ours, |(_, theirs)| self.ours / theirs)
    }

    pub(crate) fn print(&self) {
        let beside = match self.beside {
            Some((name, theirs)) => {
                format!("{name} {}, ratio {:.2}", number(theirs), self.ratio())
            }
            None => "no peer".to_owned(),
        };
        let goal = match self.goal {
            Some(goal) if goal.holds(self.ratio()) => format!("goal {goal}: met"),
            Some(goal) => format!("goal {goal}: MISSED"),
            None => "no goal".to_owned(),
        };
        let (case, unit, ours) = (&self.case, self.unit, number(self.ours));
        println!("{case} [{unit}]: tidegate {ours}; {beside}; {goal}");
    }
}

/// Formats a number to about three digits.
fn number(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// Returns the median.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
