//! `POST /subscriptions/batch`: many creations in one request, each on its own.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::{DateTime, Document, RawDocumentBuf};
use serde_json::Value;

use super::{create::read_call, input::check_new, write::compiled};
use crate::{
    config::Limits,
    extjson::Fault,
    http::{
        AppState, answer,
        aside::aside,
        body,
        idempotency::{Call, Ids, once},
        problem::Problem,
    },
    store::StoreError,
    subscription::SubscriptionId,
};

/// Creates up to `limits.batch_items` subscriptions. 200 where all were created, else 207.
pub(crate) async fn batch(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let call = read_call(&state, request).await?;
    once(state, call, create_all).await
}

/// A document to be stored, or one that is.
struct Item {
    id: SubscriptionId,
    document: Document,
    warning: Option<String>,
}

async fn create_all(state: AppState, call: Call, ids: Ids) -> Result<Response, Problem> {
    let limits = state.host.config.limits.clone();
    let bytes = call.body.len();
    let items = aside(bytes, move || read_items(&call, ids, &limits)).await??;
    let sound: Vec<_> = items
        .iter()
        .flatten()
        .map(|item| item.document.clone())
        .collect();
    if sound.is_empty() {
        return answer_all(&state, items, Vec::new(), ids).await;
    }
    let written = state.store.insert_subscriptions(&sound).await?;
    let response = answer_all(&state, items, written.outcomes, ids).await?;
    Ok(answer::settled(&state, written.operation_time, response).await)
}

fn read_items(
    call: &Call,
    ids: Ids,
    limits: &Limits,
) -> Result<Vec<Result<Item, Problem>>, Problem> {
    let refuse = |detail: String| Err(Problem::invalid(vec![Fault::new("#", detail)]));
    let Value::Array(items) = body::json(&call.body)? else {
        return refuse("must be an array of subscriptions".to_owned());
    };
    let (count, most) = (items.len(), limits.batch_items);
    if count > most {
        return refuse(format!("has {count} items; at most {most} are allowed"));
    }
    let read = |(index, value)| read_item(index, value, ids, limits);
    Ok(items.into_iter().enumerate().map(read).collect())
}

fn read_item(index: usize, value: Value, ids: Ids, limits: &Limits) -> Result<Item, Problem> {
    let checked = check_new(value, &format!("#/{index}"), limits)?;
    let id = SubscriptionId::of(ids.uuid(index));
    Ok(Item {
        document: checked.input.create(id.as_str(), DateTime::now()),
        warning: checked.warning,
        id,
    })
}

/// The answer in the order given; `outcomes` are those of the items that were sound.
async fn answer_all(
    state: &AppState,
    items: Vec<Result<Item, Problem>>,
    outcomes: Vec<Result<(), StoreError>>,
    ids: Ids,
) -> Result<Response, Problem> {
    let mut outcomes = outcomes.into_iter();
    let mut text = String::from(r#"{"items":["#);
    let mut all_created = true;
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let created = match item {
            Ok(item) => stored(state, item, outcomes.next().unwrap_or(Ok(())), ids).await,
            Err(problem) => Err(problem),
        };
        match created {
            Ok(subscription) => {
                text.push_str(r#"{"status":201,"subscription":"#);
                text.push_str(&subscription);
            }
            Err(problem) => {
                all_created = false;
                text.push_str(r#"{"status":"#);
                text.push_str(problem.status().as_str());
                text.push_str(r#","problem":"#);
                text.push_str(&problem.to_json().to_string());
            }
        }
        text.push('}');
    }
    text.push_str("]}");
    let status = if all_created {
        StatusCode::OK
    } else {
        StatusCode::MULTI_STATUS
    };
    Ok(answer::json(status, text))
}

/// The subscription as JSON, if it is stored now, by this attempt or by an earlier one.
async fn stored(
    state: &AppState,
    item: Item,
    outcome: Result<(), StoreError>,
    ids: Ids,
) -> Result<String, Problem> {
    let document = match outcome {
        Ok(()) => RawDocumentBuf::try_from(&item.document)?,
        Err(StoreError::Duplicate) if ids.may_exist() => {
            let read = state
                .store
                .find_subscription_settled(item.id.as_str())
                .await?;
            read.document.ok_or(StoreError::Duplicate)?
        }
        Err(error) => return Err(error.into()),
    };
    let compiled = compiled(state, document);
    Ok(answer::subscription_json(
        &compiled,
        item.warning.as_deref(),
    ))
}
