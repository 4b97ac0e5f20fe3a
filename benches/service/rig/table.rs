//! What comes out: one row a comparison, with its ratio.

use std::fmt;

/// What a ratio is to be.
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
    /// What stands beside it, by name, where something does.
    pub(crate) beside: Option<(&'static str, f64)>,
    /// Of the ratio, or of our own figure where nothing stands beside.
    pub(crate) goal: Option<Goal>,
}

impl Row {
    /// Ours by theirs; ours where nothing stands beside.
    pub(crate) fn ratio(&self) -> f64 {
        self.beside
            .map_or(self.ours, |(_, theirs)| self.ours / theirs)
    }

    pub(crate) fn print(&self) {
        let beside = match self.beside {
            Some((name, theirs)) => {
                format!("{name} {}, ratio {:.2}", number(theirs), self.ratio())
            }
            None => "nothing beside".to_owned(),
        };
        let goal = match self.goal {
            Some(goal) if goal.holds(self.ratio()) => format!("goal {goal}: yes"),
            Some(goal) => format!("goal {goal}: NO"),
            None => "no goal set".to_owned(),
        };
        let (case, unit, ours) = (&self.case, self.unit, number(self.ours));
        println!("{case} [{unit}]: tidegate {ours}; {beside}; {goal}");
    }
}

/// Three figures of what matters.
fn number(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// The one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
