//! `tidegate policy delete`.

use reqwest::Method;

use crate::{
    cli::{
        failure::Failure,
        server::{ServerArgs, call, path_id},
        style,
    },
    client::ClientError,
};

/// Policies to delete.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The policies
    #[arg(required = true, value_name = "NAME", value_parser = path_id)]
    names: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate policy delete partners

Connections of subscriptions that it narrows end on every node, and its callers see no event any more.";

/// Deletes all it can: one that cannot be deleted does not stop the rest.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let client = args.server.client()?;
    let mut failed = 0;
    for name in &args.names {
        let request = client.request(Method::DELETE, &["policies", name]);
        match call(&client, request).await {
            Ok(_) => style::note(format!("deleted {name}")),
            Err(ClientError::Refused(problem)) => {
                failed += 1;
                style::error(format!("{name}: {problem}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if failed == 0 {
        return Ok(());
    }
    let all = args.names.len();
    Err(Failure::Failed(format!("{failed} of {all} not deleted")))
}
