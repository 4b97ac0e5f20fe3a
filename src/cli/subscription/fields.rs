//! The fields of a subscription as flags.

use serde_json::{Map, Value};

use crate::cli::{failure::Failure, json_argument, time_argument};

/// The fields beside the filter. A request has only those that are given.
#[derive(clap::Args, Debug)]
pub(crate) struct Fields {
    /// A name for people
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// The status: events are matched while it is active
    #[arg(long, value_enum)]
    status: Option<StoredStatus>,
    /// Let the server keep the acknowledged position
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    durable: Option<bool>,
    /// Your own data, kept with it: a JSON object, @FILE, or -
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// The owner
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// The time of its deletion: a time (2030-01-31T12:00:00Z), or a span from now (2h)
    #[arg(long, value_name = "WHEN")]
    expires_at: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum StoredStatus {
    Active,
    Paused,
}

impl Fields {
    /// Builds a request's body of the fields and a filter.
    pub(crate) fn with_filter(&self, filter: Option<&str>) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        for (field, flag, value) in [
            ("filter", "--filter", filter),
            ("metadata", "--metadata", self.metadata.as_deref()),
        ] {
            if let Some(text) = value {
                body.insert(field.to_owned(), json_argument::parse_object(flag, text)?);
            }
        }
        let status = self.status.map(|status| match status {
            StoredStatus::Active => "active",
            StoredStatus::Paused => "paused",
        });
        for (field, value) in [
            ("name", self.name.clone().map(Value::from)),
            ("status", status.map(Value::from)),
            ("durable", self.durable.map(Value::from)),
            ("owner", self.owner.clone().map(Value::from)),
            (
                "expiresAt",
                self.expires_at
                    .as_deref()
                    .map(|text| time_argument::ahead(text).into()),
            ),
        ] {
            if let Some(value) = value {
                body.insert(field.to_owned(), value);
            }
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use serde_json::json;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        fields: Fields,
    }

    fn check(arguments: &[&str], expected: &Value) {
        let line = Line::parse_from([&["x"], arguments].concat());
        let body = line.fields.with_filter(None).unwrap();
        assert_eq!(&Value::Object(body), expected);
    }

    #[test]
    fn only_what_is_given_is_sent() {
        check(&[], &json!({}));
        check(&["--durable"], &json!({"durable": true}));
        check(
            &["--durable=false", "--status", "paused"],
            &json!({"status": "paused", "durable": false}),
        );
        check(
            &["--name", "n", "--owner", "o", "--metadata", "{}"],
            &json!({"metadata": {}, "name": "n", "owner": "o"}),
        );
    }
}
