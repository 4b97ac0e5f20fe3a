//! A subscription in a terminal, as a card or as a row of a table.

use std::{fmt::Write as _, io::IsTerminal as _};

use serde_json::Value;

use crate::cli::{
    answers::plain,
    failure::Failure,
    style::{self, BAD, DIM, GOOD, STRONG, WARN, paint},
};

/// The most of a filter that a table shows in a terminal.
const FILTER_CHARS: usize = 60;

/// Prints one subscription, as a card or as JSON on one line.
pub(crate) fn print_one(subscription: &Value, json: bool) -> Result<(), Failure> {
    if json {
        style::print_json(subscription)
    } else {
        style::print(card(subscription).trim_end())
    }
}

fn card(subscription: &Value) -> String {
    let mut card = String::new();
    for (key, value) in subscription.as_object().into_iter().flatten() {
        if key == "warnings" || value.is_null() {
            continue;
        }
        let text = match key.as_str() {
            "status" => painted_status(&plain(value)),
            "error" => paint(BAD, plain(value)),
            _ => plain(value),
        };
        // Writing to a string cannot fail.
        writeln!(card, "{} {text}", paint(STRONG, format!("{key:<10}"))).unwrap_or_default();
    }
    card
}

/// A table that is printed page by page. Its columns grow if a later page needs that.
pub(crate) struct Table {
    widths: [usize; 3],
    filter_chars: usize,
    headed: bool,
}

impl Table {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            widths: [2, 6, 4],
            filter_chars: if terminal { FILTER_CHARS } else { usize::MAX },
            headed: false,
        }
    }

    /// Whether nothing was printed.
    pub(crate) fn is_empty(&self) -> bool {
        !self.headed
    }

    /// Prints a page of subscriptions, after the heading if that is missing.
    pub(crate) fn print(&mut self, items: &[Value]) -> Result<(), Failure> {
        let rows: Vec<_> = items.iter().map(|item| self.row(item)).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if !self.headed && !rows.is_empty() {
            self.headed = true;
            let [id, status, name] = self.widths;
            let head = format!(
                "{:id$}  {:status$}  {:name$}  FILTER",
                "ID", "STATUS", "NAME"
            );
            style::print(paint(DIM, head))?;
        }
        rows.iter().try_for_each(|row| self.print_row(row))
    }

    fn row(&self, item: &Value) -> [String; 4] {
        let name = match &item["name"] {
            Value::Null => "-".to_owned(),
            name => plain(name),
        };
        let filter = shortened(&plain(&item["filter"]), self.filter_chars);
        [plain(&item["id"]), plain(&item["status"]), name, filter]
    }

    fn print_row(&self, [id, status, name, filter]: &[String; 4]) -> Result<(), Failure> {
        let [id_width, status_width, name_width] = self.widths;
        let padding = " ".repeat(status_width.saturating_sub(status.chars().count()));
        style::print(format!(
            "{id:id_width$}  {}{padding}  {name:name_width$}  {filter}",
            painted_status(status)
        ))
    }
}

fn painted_status(status: &str) -> String {
    match status {
        "active" => paint(GOOD, status),
        "paused" => paint(WARN, status),
        _ => paint(BAD, status),
    }
}

fn shortened(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_card_shows_what_is_there() {
        let card = card(&json!({"id": "a", "name": null, "filter": {"x": 1}, "warnings": []}));
        let plain = anstream::adapter::strip_str(&card).to_string();
        assert_eq!(plain, "id         a\nfilter     {\"x\":1}\n");
    }

    #[test]
    fn long_filters_are_shortened_by_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äö…");
    }
}
