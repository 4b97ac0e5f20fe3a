//! The service that a client command talks to.

use reqwest::{RequestBuilder, Url};

use super::{failure::Failure, style};
use crate::client::{Answer, Client, ClientError, parse_address};

/// The service's address.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// The service's address
    #[arg(
        long,
        value_name = "URL",
        env = "TIDEGATE_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080",
        value_parser = parse_address
    )]
    server: Url,
}

impl ServerArgs {
    /// Makes a client of the service.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.server.clone())?)
    }
}

/// Sends a request that is answered by JSON or by nothing, and warns of a write that is not applied yet.
pub(crate) async fn call(client: &Client, request: RequestBuilder) -> Result<Answer, ClientError> {
    let answer = client.call(request).await?;
    warn_if_not_applied(&answer);
    Ok(answer)
}

pub(crate) fn warn_if_not_applied(answer: &Answer) {
    if !answer.applied {
        style::warn("written, but this node has not applied it yet; it will");
    }
}

/// Reads an id that can stand in a path: `.` and `..` would mean other resources.
pub(crate) fn path_id(text: &str) -> Result<String, String> {
    match text {
        "" | "." | ".." => Err("an id cannot be empty, \".\" or \"..\"".to_owned()),
        text if text.contains(char::is_control) => {
            Err("an id cannot have control characters (line breaks, for example)".to_owned())
        }
        text => Ok(text.to_owned()),
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let hint = match &error {
            ClientError::Unreachable { .. } => {
                "\n  Is the service running? `tidegate dev` starts one; \
                 --server or TIDEGATE_SERVER points to another."
            }
            _ => "",
        };
        Self::Failed(format!("{error}{hint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_can_stand_in_no_path_are_refused() {
        for id in ["", ".", "..", "n\nb", "a\u{7f}", "\u{9b}"] {
            assert!(path_id(id).is_err(), "{id:?}");
        }
    }
}
