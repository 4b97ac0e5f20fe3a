//! The service that a client command talks to.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use reqwest::{RequestBuilder, Url};
use secrecy::SecretString;

use super::{failure::Failure, style};
use crate::{
    client::{Answer, Client, ClientError, parse_address},
    config::variable,
};

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
    /// A file with the key or token to present; `TIDEGATE_TOKEN` has it itself
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The longest token in a file.
const TOKEN_BYTES: u64 = 8 << 10;

impl ServerArgs {
    /// Makes a client of the service.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        client_of(self.server.clone(), self.token_file.as_deref())
    }

    /// Returns the key or token that the file holds now; `None` if it comes from elsewhere, and so does not change.
    pub(crate) fn token_in_file(&self) -> Result<Option<SecretString>, Failure> {
        let file = self.token_file.as_deref();
        file.map_or(Ok(None), |file| token(Some(file)))
    }
}

/// Makes a client of the service at an address, which presents what the file holds, else what the variable does.
pub(crate) fn client_of(address: Url, token_file: Option<&Path>) -> Result<Client, Failure> {
    Ok(Client::new(address)?.with_token(token(token_file)?))
}

/// Returns the key or token to present. It is never an argument: others on the machine can read those.
fn token(file: Option<&Path>) -> Result<Option<SecretString>, Failure> {
    match read_token(file, TOKEN_BYTES)? {
        Some(text) if text.bytes().any(|byte| !byte.is_ascii_graphic()) => Err(Failure::Failed(
            "the token has characters that no token has".to_owned(),
        )),
        text => Ok(text.filter(|text| !text.is_empty()).map(SecretString::from)),
    }
}

/// Reads the key or token in a file, else in the variable, without the space at its ends.
pub(crate) fn read_token(file: Option<&Path>, most: u64) -> Result<Option<String>, Failure> {
    let text = match file {
        None => variable("TIDEGATE_TOKEN").map(|text| text.to_string_lossy().into_owned()),
        Some(path) => {
            let mut text = String::new();
            let read = File::open(path).and_then(|file| file.take(most).read_to_string(&mut text));
            read.map_err(|error| {
                Failure::Failed(format!("cannot read {}: {error}", path.display()))
            })?;
            Some(text)
        }
    };
    Ok(text.map(|text| text.trim().to_owned()))
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
