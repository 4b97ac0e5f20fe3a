//! The subscriptions of a run: created before it, deleted after it.

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{plan::Plan, status_line::StatusLine};
use crate::{
    cli::{failure::Failure, server::call},
    client::{Client, ClientError, Problem},
};

/// Subscriptions per request.
const BATCH: u32 = 500;
/// Deletes in flight at once.
const DELETING: usize = 32;
/// The life of the subscriptions after the end of a run that could not delete them.
const LIFE: Duration = Duration::from_hours(1);

/// The subscriptions that exist by now.
pub(super) struct Subscriptions {
    client: Client,
    pub(super) ids: Vec<String>,
}

impl Subscriptions {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            ids: Vec::new(),
        }
    }

    /// Creates all subscriptions of the plan, or stops between two requests.
    pub(super) async fn create(
        &mut self,
        plan: &Plan,
        stop: &CancellationToken,
        status: &StatusLine,
    ) -> Result<(), Failure> {
        let expires_at = SystemTime::now() + plan.duration + LIFE;
        let expires_at = humantime::format_rfc3339_millis(expires_at).to_string();
        let mut created = 0;
        while created < plan.subscriptions && !stop.is_cancelled() {
            status.show(&format!("subscribing, {created} of {}", plan.subscriptions));
            let next = plan.subscriptions.min(created + BATCH);
            let items: Vec<Value> = (created..next)
                .map(|number| {
                    json!({"name": plan.name, "filter": plan.filter(number), "expiresAt": expires_at})
                })
                .collect();
            self.create_batch(&items).await?;
            created = next;
        }
        Ok(())
    }

    async fn create_batch(&mut self, items: &[Value]) -> Result<(), Failure> {
        let path = ["subscriptions", "batch"];
        let request = self.client.request(Method::POST, &path).json(items);
        let answer = call(&self.client, request).await?.body;
        let mut refused = None;
        for item in answer["items"].as_array().into_iter().flatten() {
            match item["subscription"]["id"].as_str() {
                Some(id) => self.ids.push(id.to_owned()),
                None => refused = Some(&item["problem"]),
            }
        }
        match refused {
            None => Ok(()),
            Some(problem) => Err(Failure::Failed(format!(
                "a subscription was refused: {}",
                Problem::from_json(problem).one_line()
            ))),
        }
    }

    /// Deletes all subscriptions. The error counts those that remain, with the reason of the last.
    pub(super) async fn delete(&mut self, status: &StatusLine) -> Result<(), String> {
        let count = self.ids.len();
        status.show(&format!("deleting {count} subscriptions"));
        let client = &self.client;
        let outcomes: Vec<_> = stream::iter(self.ids.drain(..))
            .map(async |id| {
                let request = client.request(Method::DELETE, &["subscriptions", &id]);
                call(client, request).await
            })
            .buffer_unordered(DELETING)
            .collect()
            .await;
        let failed: Vec<ClientError> = outcomes
            .into_iter()
            .filter_map(Result::err)
            .filter(|error| !is_gone(error))
            .collect();
        match failed.last() {
            None => Ok(()),
            Some(error) => Err(format!(
                "{} of {count} subscriptions were not deleted ({error}); they expire by themselves",
                failed.len()
            )),
        }
    }
}

fn is_gone(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(problem) if problem.status == 404)
}
