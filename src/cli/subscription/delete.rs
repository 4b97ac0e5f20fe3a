//! `tidegate subscription delete`.

use reqwest::Method;

use crate::{
    cli::{
        failure::Failure,
        server::{ServerArgs, call, path_id},
        style,
    },
    client::ClientError,
};

/// Subscriptions to delete.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The subscriptions
    #[arg(required = true, value_name = "ID", value_parser = path_id)]
    ids: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  tidegate subscription delete large
  tidegate subscription list --name probe --json | jq -r .id | xargs tidegate subscription delete

Events committed before the delete are still delivered; then each connection is told and closed.";

/// Deletes all it can: one that cannot be deleted does not stop the rest.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let client = args.server.client()?;
    let mut failed = 0;
    for id in &args.ids {
        let request = client.request(Method::DELETE, &["subscriptions", id]);
        match call(&client, request).await {
            Ok(_) => style::note(format!("deleted {id}")),
            Err(ClientError::Refused(problem)) => {
                failed += 1;
                style::error(format!("{id}: {problem}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Failed(format!(
            "{failed} of {} not deleted",
            args.ids.len()
        ))),
    }
}
