//! `POST /subscriptions/batch`: many subscriptions in one request. Each succeeds or fails by itself.

use std::{fmt, sync::Arc};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::RawDocumentBuf;
use serde::{
    Deserialize as _,
    de::{self, DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor},
};

use super::{
    input::{CheckedInput, check_new, fixed_for},
    write::{check_room, check_within, read_stored},
};
use crate::{
    access::{Caller, Policies, Sight},
    config::Limits,
    extjson::Fault,
    http::edge::{
        AppState,
        acting::Acting,
        answer,
        body::{self, BufferedRequest, ReceivedBody},
        budget::Share,
        granting::{Granted, grant},
        idempotency::{Ids, once},
        observe::WRITES,
        problem::Problem,
        read_your_writes::wait_subscription_applied,
    },
    store::StoreError,
    subscription::{Subscription, SubscriptionId},
};

/// Creates up to `limits.batch_items` subscriptions. Answers 200 if all are created, else 207.
pub(crate) async fn batch(
    State(state): State<AppState>,
    acting: Acting,
    request: Request,
) -> Result<Response, Problem> {
    let caller = Arc::clone(&acting.caller);
    let request = BufferedRequest::read_posted_json(&state, &caller, request).await?;
    check_within(&caller, "")?;
    let create = move |state, request, ids| create_all(state, acting, request, ids);
    once(state, &caller, request, create).await
}

/// Bytes that the errors of all items share in one answer. Once they are used up, problems come without their errors.
const ERRORS_BYTES: usize = 4 << 20;

/// A document to store, or a stored one.
struct Item {
    id: SubscriptionId,
    document: RawDocumentBuf,
    warnings: Vec<String>,
}

/// Each item, or the problem with it.
type Items = Vec<Result<Item, Problem>>;

async fn create_all(
    state: AppState,
    acting: Acting,
    request: BufferedRequest,
    ids: Ids,
) -> Result<Response, Problem> {
    let limits = state.limits().clone();
    let sight = acting.caller.sight();
    let caller = Arc::clone(&acting.caller);
    let policies = state.router().credentials().policies();
    let read = move || read_items(request, caller, &policies, ids, limits);
    let filtering = state.bounds.filtering.for_tenant(sight.tenant());
    let (mut items, share) = filtering.offload(read).await??;
    let _granted = refuse_excess(&state, &acting.caller, &mut items).await?;
    let valid: Vec<_> = items.iter().flatten().map(|item| &item.document).collect();
    if valid.is_empty() {
        return answer_all(&state, items, Vec::new(), ids, &sight).await;
    }
    check_room(&state, valid.len())?;
    let inserting = state.store.insert_subscriptions(&valid, acting.proved());
    let written = inserting.await?;
    drop(share);
    let response = answer_all(&state, items, written.outcomes, ids, &sight).await?;
    Ok(wait_subscription_applied(&state, written.operation_time, response).await)
}

/// Refuses the items that are too many for the caller. The others count until what is returned is dropped.
async fn refuse_excess(
    state: &AppState,
    caller: &Caller,
    items: &mut Items,
) -> Result<Granted, Problem> {
    let ids = items.iter().flatten().map(|item| item.id.as_str().into());
    let mut granted = grant(state, caller, ids.collect()).await?;
    let judged = items.iter_mut().filter(|item| item.is_ok());
    for (item, refusal) in judged.zip(granted.take_refusals()) {
        if let Some(refusal) = refusal {
            *item = Err(refusal);
        }
    }
    Ok(granted)
}

fn read_items(
    request: BufferedRequest,
    caller: Arc<Caller>,
    policies: &Policies,
    ids: Ids,
    limits: Limits,
) -> Result<(Items, Share), Problem> {
    let ReceivedBody { bytes, share } = request.body;
    if bytes.trim_ascii_start().first() != Some(&b'[') {
        body::json(&bytes, |json| IgnoredAny::deserialize(json))?;
        let fault = Fault::new("#", "must be an array of subscriptions");
        return Err(Problem::invalid(fault));
    }
    let mut list = List {
        caller,
        policies,
        ids,
        limits,
        share,
        items: Vec::new(),
        errors_left: ERRORS_BYTES,
        stopped: None,
    };
    let read = body::json(&bytes, |json| json.deserialize_seq(&mut list));
    match list.stopped {
        Some(problem) => Err(problem),
        None => read.map(|()| (list.items, list.share)),
    }
}

/// Reads items one by one. Only their documents are kept.
struct List<'p> {
    caller: Arc<Caller>,
    policies: &'p Policies,
    ids: Ids,
    limits: Limits,
    share: Share,
    items: Items,
    errors_left: usize,
    /// The problem that ended the reading before the end of the body.
    stopped: Option<Problem>,
}

impl List<'_> {
    fn push(&mut self, checked: Result<CheckedInput, Problem>) -> Result<(), Problem> {
        let id = SubscriptionId::of(self.ids.uuid(self.items.len()));
        let pointer = format!("#/{}", self.items.len());
        let made = checked.and_then(|checked| {
            let document = checked.create(id.as_str(), &self.caller, self.policies, &pointer)?;
            Ok((document, checked.warnings))
        });
        let item = match made {
            Ok((document, warnings)) => {
                let document = RawDocumentBuf::try_from(&document)?;
                self.share.grow(document.as_bytes().len())?;
                Ok(Item {
                    id,
                    document,
                    warnings,
                })
            }
            Err(problem) => Err(problem.within(&mut self.errors_left)),
        };
        self.items.push(item);
        Ok(())
    }

    fn stop<E: de::Error>(&mut self, problem: Problem) -> E {
        self.stopped = Some(problem);
        E::custom("stopped")
    }
}

impl<'de> Visitor<'de> for &mut List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of subscriptions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(&mut *self)?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let (count, most) = (self.items.len(), self.limits.batch_items);
        if count == most {
            let detail = format!("has more than {most} items");
            return Err(self.stop(Problem::invalid(Fault::new("#", detail))));
        }
        let checked = check_new(
            json,
            &format!("#/{count}"),
            fixed_for(&self.caller),
            &self.limits,
        )?;
        self.push(checked).map_err(|problem| self.stop(problem))
    }
}

/// Answers in the order given. `outcomes` are those of the valid items.
async fn answer_all(
    state: &AppState,
    items: Items,
    outcomes: Vec<Result<(), StoreError>>,
    ids: Ids,
    sight: &Sight,
) -> Result<Response, Problem> {
    let mut outcomes = outcomes.into_iter();
    let mut text = String::from(r#"{"items":["#);
    let mut refused = 0;
    let count = items.len();
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let created = match item {
            Ok(item) => {
                let outcome = outcomes.next().unwrap_or(Ok(()));
                stored(state, item, outcome, ids, sight).await
            }
            Err(problem) => Err(problem),
        };
        match created {
            Ok(subscription) => {
                text.push_str(r#"{"status":201,"subscription":"#);
                text.push_str(&subscription);
            }
            // Stored under the key, this would be the answer for a day. When all are sent again, those that are stored
            // are known by their ids.
            Err(problem) if ids.may_exist() && problem.status().is_server_error() => {
                return Err(problem);
            }
            Err(problem) => {
                refused += 1;
                text.push_str(r#"{"status":"#);
                text.push_str(problem.status().as_str());
                text.push_str(r#","problem":"#);
                text.push_str(&problem.to_json().to_string());
            }
        }
        text.push('}');
    }
    text.push_str("]}");
    let created = count - refused;
    tracing::debug!(target: WRITES, created, refused, "subscriptions were created");
    let status = if refused == 0 {
        StatusCode::OK
    } else {
        StatusCode::MULTI_STATUS
    };
    Ok(answer::json(status, text))
}

/// Returns the subscription as JSON if it is stored, by this attempt or an earlier one.
async fn stored(
    state: &AppState,
    item: Item,
    outcome: Result<(), StoreError>,
    ids: Ids,
    sight: &Sight,
) -> Result<String, Problem> {
    let subscription = match outcome {
        Ok(()) => {
            let policies = state.router().credentials().policies();
            Subscription::with_compiled_filter(item.document).under(&policies)
        }
        Err(StoreError::Duplicate) if ids.may_exist() => {
            let read = state
                .store
                .find_subscription_settled(item.id.as_str(), sight)
                .await?;
            let found = read.document.ok_or(StoreError::Duplicate)?;
            let checked = item.document.get_document("filter").ok();
            read_stored(state, found, checked).await?
        }
        Err(error) => return Err(error.into()),
    };
    Ok(subscription.to_json_with(&item.warnings))
}
