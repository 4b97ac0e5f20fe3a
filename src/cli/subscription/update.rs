//! `tidegate subscription update`.

use reqwest::{Method, header};
use serde_json::{Map, Value};

use super::{fields::Fields, view};
use crate::cli::{
    answers::print_warnings,
    failure::Failure,
    server::{ServerArgs, call, path_id},
    style,
};

/// Changes to one subscription.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The subscription
    #[arg(value_parser = path_id)]
    id: String,
    /// The events to match: a MongoDB query as JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    #[command(flatten)]
    fields: Fields,
    /// Fields to reset to their default
    #[arg(long, value_name = "FIELD", value_enum, value_delimiter = ',')]
    unset: Vec<Unset>,
    /// Print the subscription as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Unset {
    Name,
    Metadata,
    Owner,
    ExpiresAt,
}

impl Unset {
    const fn field(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Metadata => "metadata",
            Self::Owner => "owner",
            Self::ExpiresAt => "expiresAt",
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  tidegate subscription update large --filter '{\"data.amount\": {\"$gte\": 5000}}'
  tidegate subscription update large --status paused
  tidegate subscription update large --unset name,expires-at

A filter and metadata are replaced whole; fields you do not name stay as they are.";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let patch = patch(&args)?;
    let client = args.server.client()?;
    let request = client
        .request(Method::PATCH, &["subscriptions", &args.id])
        .header(header::CONTENT_TYPE, "application/merge-patch+json")
        .body(Value::Object(patch).to_string());
    let updated = call(&client, request).await?.body;
    print_warnings(&updated);
    if !args.json {
        style::note("updated");
    }
    view::print_one(&updated, args.json)
}

/// Builds a merge patch (RFC 7396): null removes a field.
fn patch(args: &Args) -> Result<Map<String, Value>, Failure> {
    let mut patch = args.fields.with_filter(args.filter.as_deref())?;
    for unset in &args.unset {
        let field = unset.field();
        if patch
            .insert(field.to_owned(), Value::Null)
            .is_some_and(|old| !old.is_null())
        {
            let both = format!("{field} cannot be set and unset at once");
            return Err(Failure::Usage(both));
        }
    }
    if patch.is_empty() {
        let nothing = "nothing to change: name a field, for example --filter or --status";
        return Err(Failure::Usage(nothing.to_owned()));
    }
    Ok(patch)
}
