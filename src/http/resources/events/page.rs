//! A page of stored events.

use axum::{http::StatusCode, response::Response};
use bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use serde_json::Value;
use tracing::Instrument as _;

use super::show;
use crate::{
    access::{BoundPolicy, Caller},
    event::default_source,
    filter::{Filter, Steps, TooExpensive},
    http::edge::{
        AppState, answer,
        budget::Share,
        failure::internal,
        problem::{Kind, Problem},
    },
    position::Position,
    store::{EventPage, EventQuery, PageKey, PageStep},
};

/// A search for the events on a page.
pub(crate) struct Search {
    /// The query to the database.
    pub(crate) query: EventQuery,
    /// The filter that has the last word on what the database finds.
    pub(crate) filter: Option<Filter>,
    /// The policy that narrows what the caller sees, which has the last word too.
    pub(crate) policy: Option<BoundPolicy>,
    /// The most events on the page.
    pub(crate) limit: usize,
}

impl Search {
    /// Adds a filter. The database gets all of it but the patterns: MongoDB gives up a pattern at a limit of its own, and
    /// silently reports no match.
    pub(crate) fn filtered(mut self, document: &RawDocument, filter: Filter) -> Self {
        self.ask(document);
        self.filter = Some(filter);
        self
    }

    /// Shows only what a policy permits.
    pub(crate) fn under(mut self, policy: Option<BoundPolicy>) -> Self {
        if let Some(query) = policy.as_ref().map(BoundPolicy::query)
            && let Ok(query) = RawDocumentBuf::try_from(&query)
        {
            self.ask(&query);
        }
        self.policy = policy;
        self
    }

    fn ask(&mut self, document: &RawDocument) {
        let (query, whole) = without_patterns(document);
        self.query.filter = Some(match self.query.filter.take() {
            None => query,
            Some(other) => doc! {"$and": [other, query]},
        });
        self.query.limit = self.query.limit.filter(|_| whole);
    }

    /// Whether the database may have to look at many events to find these.
    fn is_wide(&self) -> bool {
        let EventQuery {
            type_,
            source,
            subject,
            ..
        } = &self.query;
        self.filter.is_some()
            || self.policy.is_some()
            || type_.is_some()
            || source.is_some()
            || subject.is_some()
    }
}

/// Returns the conditions of a query that have no pattern, and whether these are all. A document within the query is within
/// them.
pub(super) fn without_patterns(document: &RawDocument) -> (Document, bool) {
    let (mut query, mut whole) = (Document::new(), true);
    for element in document.iter_elements().flatten() {
        let name = element.key().as_str();
        match element.value() {
            Ok(RawBsonRef::Array(branches)) if name == "$and" => {
                let mut kept = Vec::new();
                for branch in branches {
                    let Ok(RawBsonRef::Document(branch)) = branch else {
                        whole = false;
                        continue;
                    };
                    let (branch, is_whole) = without_patterns(branch);
                    whole &= is_whole;
                    if is_whole || !branch.is_empty() {
                        kept.push(branch);
                    }
                }
                if !kept.is_empty() {
                    query.insert(name, kept);
                }
            }
            Ok(value) if !has_pattern(name, value) => match Bson::try_from(value) {
                Ok(value) => _ = query.insert(name, value),
                Err(_) => whole = false,
            },
            _ => whole = false,
        }
    }
    (query, whole)
}

/// Whether a clause has a regular expression.
fn has_pattern(key: &str, value: RawBsonRef<'_>) -> bool {
    let inside = |document: &RawDocument| {
        let mut elements = document.iter();
        elements.any(|element| element.is_ok_and(|(key, value)| has_pattern(key.as_str(), value)))
    };
    match value {
        RawBsonRef::RegularExpression(_) => true,
        _ if key == "$regex" => true,
        RawBsonRef::Document(document) => inside(document),
        RawBsonRef::Array(items) => {
            let mut items = items.into_iter();
            items.any(|item| item.is_ok_and(|item| has_pattern("", item)))
        }
        _ => false,
    }
}

/// Searches for a page and answers with `{items, nextCursor, cursor}`, and with `tooExpensive` if events were left out
/// because the filter takes too many steps on them. If the client leaves, the search goes on under its permit, because
/// the database goes on as well.
pub(crate) async fn answer(
    state: &AppState,
    caller: &Caller,
    search: Search,
) -> Result<Response, Problem> {
    let limit = if search.is_wide() {
        &state.bounds.searching
    } else {
        &state.bounds.paging
    };
    let permit = limit.for_tenant(caller.tenant.as_deref()).acquire().await?;
    let share = state.bounds.answers.share(caller.tenant.as_deref());
    let reading = read(state.clone(), search, share);
    let reading = async move {
        let page = reading.await;
        drop(permit);
        page
    };
    match state.tasks.spawn("search", reading.in_current_span()).await {
        Ok(Some(page)) => page,
        Ok(None) => Err(Problem::new(
            Kind::InternalError,
            "the search ended without an answer",
        )),
        Err(error) => Err(internal(&error)),
    }
}

async fn read(state: AppState, search: Search, share: Share) -> Result<Response, Problem> {
    let page = PageWriter {
        text: String::from(r#"{"items":["#),
        source: default_source(state.store.database_name()),
        filter: search.filter,
        policy: search.policy,
        items: 0,
        unreadable: 0,
        too_expensive: 0,
        max_items: search.limit,
        max_bytes: state.limits().page_bytes,
        share,
        refused: None,
    };
    let read = state
        .store
        .read_events(&search.query, page, PageWriter::take);
    let EventPage { page, next, as_of } = read.await?;
    let deployment = state.router().deployment();
    let cursor = as_of.map(|time| Position::behind(time).cursor(deployment));
    page.finish(next, cursor)
}

/// A page as it is written.
struct PageWriter {
    text: String,
    source: String,
    filter: Option<Filter>,
    policy: Option<BoundPolicy>,
    items: usize,
    unreadable: usize,
    /// The number of events on which the filter takes more steps than it may.
    too_expensive: usize,
    max_items: usize,
    max_bytes: usize,
    share: Share,
    /// The problem that ended the page.
    refused: Option<Problem>,
}

impl PageWriter {
    fn take(&mut self, event: &RawDocument) -> PageStep {
        if self.items == self.max_items {
            return PageStep::Full;
        }
        let policy = self.policy.as_ref();
        if policy.is_some_and(|policy| !policy.permits(event)) {
            return PageStep::Hidden;
        }
        let matches = self
            .filter
            .as_ref()
            .map(|filter| filter.matches_within(event, &mut Steps::default()));
        match matches {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => return PageStep::Next,
            Some(Err(TooExpensive)) => {
                self.too_expensive += 1;
                return PageStep::Next;
            }
        }
        let before = self.text.len();
        if self.items > 0 {
            self.text.push(',');
        }
        if show::write(event, &self.source, &mut self.text).is_err() {
            self.text.truncate(before);
            self.unreadable += 1;
            return PageStep::Next;
        }
        let grown = self.share.grow(self.text.len() - before);
        if grown.is_err() || (self.items > 0 && self.text.len() > self.max_bytes) {
            self.text.truncate(before);
            self.refused = grown.err();
            return PageStep::Full;
        }
        self.items += 1;
        PageStep::Next
    }

    /// Returns the answer. A stream that begins at `cursor` continues behind what the pages show.
    fn finish(
        mut self,
        next: Option<PageKey>,
        cursor: Option<String>,
    ) -> Result<Response, Problem> {
        if self.unreadable > 0 {
            let count = self.unreadable;
            tracing::warn!(count, "unreadable events are left out of a page");
        }
        if let Some(refused) = self.refused.filter(|_| self.items == 0) {
            return Err(refused);
        }
        let next = next.map(|key| key.encode()).transpose();
        let next = next.map_err(|error| internal(&error))?;
        self.text.push_str(r#"],"nextCursor":"#);
        self.text.push_str(&Value::from(next).to_string());
        self.text.push_str(r#","cursor":"#);
        self.text.push_str(&Value::from(cursor).to_string());
        if self.too_expensive > 0 {
            self.text.push_str(r#","tooExpensive":"#);
            self.text.push_str(&self.too_expensive.to_string());
        }
        self.text.push('}');
        Ok(answer::json_with_share(
            StatusCode::OK,
            self.text,
            self.share,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queried(filter: &Document) -> (Option<Document>, Option<usize>) {
        let raw = RawDocumentBuf::try_from(filter).unwrap();
        let search = Search {
            query: EventQuery {
                limit: Some(5),
                ..EventQuery::default()
            },
            filter: None,
            policy: None,
            limit: 4,
        };
        let search = search.filtered(&raw, Filter::parse(&raw).unwrap());
        (search.query.filter, search.query.limit)
    }

    #[test]
    fn the_database_gets_all_but_patterns() {
        let whole = doc! {"type": "t", "$or": [{"a": 1}, {"b": {"$gt": 2}}]};
        assert_eq!(queried(&whole), (Some(whole.clone()), Some(5)));
        let pattern = Bson::RegularExpression(bson::Regex {
            pattern: bson::raw::cstr!("^a").to_owned(),
            options: bson::raw::cstr!("").to_owned(),
        });
        for clause in [
            doc! {"a": {"$regex": "^a"}},
            doc! {"a": {"$not": {"$regex": "^a", "$options": "i"}}},
            doc! {"a": pattern.clone()},
            doc! {"a": {"$in": [1, pattern.clone()]}},
            doc! {"$or": [{"b": 1}, {"a": {"$elemMatch": {"b": {"$regex": "a"}}}}]},
        ] {
            let mut filter = doc! {"type": "t"};
            filter.extend(clause);
            assert_eq!(queried(&filter), (Some(doc! {"type": "t"}), None));
        }
    }

    #[test]
    fn of_several_conditions_the_database_gets_those_without_a_pattern() {
        let pattern = || doc! {"type": {"$regex": "^order\\."}};
        let guards = doc! {"tenant": {"$not": {"$type": "array"}}};
        let mut narrow = doc! {"tenant": "acme"};
        narrow.extend(pattern());
        for (filter, asked) in [
            // As a policy with a pattern is written.
            (
                doc! {"$and": [narrow, guards.clone()]},
                doc! {"$and": [{"tenant": "acme"}, guards]},
            ),
            (
                doc! {"$and": [pattern(), {"$and": [pattern(), {"a": 1}]}], "b": 2},
                doc! {"$and": [{"$and": [{"a": 1}]}], "b": 2},
            ),
            (doc! {"$and": [pattern()]}, doc! {}),
            // An alternative is no condition by itself.
            (doc! {"$or": [{"a": 1}, pattern()]}, doc! {}),
            (doc! {"$nor": [{"a": 1}, pattern()]}, doc! {}),
        ] {
            assert_eq!(queried(&filter), (Some(asked), None), "{filter}");
        }
        let whole = doc! {"$and": [{}, {"a": 1}]};
        assert_eq!(queried(&whole), (Some(whole.clone()), Some(5)));
    }
}
