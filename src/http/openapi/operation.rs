//! The description of one call.

#![expect(
    clippy::needless_pass_by_value,
    reason = "a schema is made where it is used, and belongs to where it goes"
)]

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::http::edge::{
    needs::Need,
    problem::{Kind, PROBLEM_JSON},
};

/// The refusals that any call may give.
const ANYWHERE: [Kind; 11] = [
    Kind::MalformedRequest,
    Kind::BadParameter,
    Kind::BadHeader,
    Kind::MethodNotAllowed,
    Kind::ExpectationFailed,
    Kind::Misdirected,
    Kind::UriTooLong,
    Kind::HeadersTooLarge,
    Kind::InternalError,
    Kind::Overloaded,
    Kind::NotReady,
];
/// The refusals of calls that use the database.
const STORED: [Kind; 2] = [Kind::DatabaseUnavailable, Kind::DatabaseForbids];
/// The refusals of calls that read a body.
const READING: [Kind; 5] = [
    Kind::MalformedJson,
    Kind::RequestTimeout,
    Kind::TooLarge,
    Kind::UnsupportedMediaType,
    Kind::InvalidRequest,
];
/// The refusals of repeated requests.
const REPEATED: [Kind; 2] = [Kind::IdempotencyKeyInUse, Kind::IdempotencyKeyReused];

/// The description of one call.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    description: Option<String>,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: Map<String, Value>,
    problems: Vec<Kind>,
    extensions: Map<String, Value>,
}

impl Operation {
    /// Returns the description of a call with only the refusals of any call.
    pub(crate) fn new(id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            tag,
            summary,
            description: None,
            parameters: Vec::new(),
            body: None,
            answers: Map::new(),
            problems: ANYWHERE.to_vec(),
            extensions: Map::new(),
        }
    }

    /// Adds the need of the call: the scopes of which a caller must have one, and the refusals of others.
    pub(crate) fn needs(mut self, need: Need) -> Self {
        let bearer = json!({"bearer": []});
        let security = match need {
            Need::Nothing => json!([]),
            Need::Anybody => json!([{}, bearer]),
            Need::Proof | Need::AnyOf(_) | Need::UnderPolicy(_) => json!([bearer]),
        };
        self.extensions.insert("security".to_owned(), security);
        let scopes: Vec<_> = need.scopes().iter().map(|scope| scope.as_str()).collect();
        if !scopes.is_empty() {
            self.extensions.insert("x-scopes".to_owned(), json!(scopes));
        }
        match need {
            Need::Nothing => self,
            Need::Proof => self.refuses(&[Kind::Unauthenticated, Kind::TooManyRequests]),
            Need::Anybody => self.refuses(&[
                Kind::Unauthenticated,
                Kind::TooManyRequests,
                Kind::PolicyUnsatisfied,
            ]),
            Need::AnyOf(_) | Need::UnderPolicy(_) => self.refuses(&[
                Kind::Unauthenticated,
                Kind::TooManyRequests,
                Kind::Forbidden,
                Kind::PolicyUnsatisfied,
            ]),
        }
    }

    /// Adds a longer description.
    pub(crate) fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Adds the refusals of a call that uses the database.
    pub(crate) fn uses_database(self) -> Self {
        self.refuses(&STORED)
    }

    /// Adds the id in the path and the refusal of an unknown one.
    pub(crate) fn with_id(self, unknown: Kind) -> Self {
        let schema = json!({"type": "string", "minLength": 1, "maxLength": 200});
        self.parameter("path", "id", true, schema, "The id, percent-encoded.")
            .refuses(&[unknown])
    }

    /// Adds a query parameter.
    pub(crate) fn query(self, name: &str, schema: Value, description: &str) -> Self {
        self.parameter("query", name, false, schema, description)
    }

    /// Adds a header of the request.
    pub(crate) fn header(self, name: &str, schema: Value, description: &str) -> Self {
        self.parameter("header", name, false, schema, description)
    }

    /// Adds `If-Match` and `If-None-Match` of a write.
    pub(crate) fn conditional(self) -> Self {
        self.header(
            "If-Match",
            entity_tags(),
            "Write only if the entity tag is one of these.",
        )
        .header(
            "If-None-Match",
            entity_tags(),
            "`*`: write only if nothing has this id yet.",
        )
        .refuses(&[Kind::PreconditionFailed, Kind::Contended])
    }

    /// Adds `Idempotency-Key`.
    pub(crate) fn repeatable(self) -> Self {
        let key =
            json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"});
        self.header(
            "Idempotency-Key",
            key,
            "The same request with the same key within 24 hours takes effect once, and gets the first answer again.",
        )
        .refuses(&REPEATED)
    }

    fn parameter(
        mut self,
        location: &str,
        name: &str,
        required: bool,
        schema: Value,
        description: &str,
    ) -> Self {
        self.parameters.push(json!({
            "name": name,
            "in": location,
            "required": required,
            "description": description,
            "schema": schema,
        }));
        self
    }

    /// Adds a body of one of these media types, each with its schema.
    pub(crate) fn body(mut self, types: &[(&str, Value)]) -> Self {
        self.body = Some(json!({"required": true, "content": content(types)}));
        self.refuses(&READING)
    }

    /// Adds an example of the body for each of its media types, in their order.
    pub(crate) fn example(mut self, bodies: &[Value]) -> Self {
        let content = self
            .body
            .as_mut()
            .and_then(|body| body["content"].as_object_mut());
        for (typed, example) in content.into_iter().flatten().zip(bodies) {
            typed.1["example"] = example.clone();
        }
        self
    }

    /// Adds an answer of `application/json`.
    pub(crate) fn answers(
        self,
        status: StatusCode,
        description: &str,
        schema: Value,
        headers: &[&str],
    ) -> Self {
        let types = [("application/json", schema)];
        self.answers_with(status, description, &types, headers)
    }

    /// Adds an answer of any media types, or of none.
    pub(crate) fn answers_with(
        mut self,
        status: StatusCode,
        description: &str,
        types: &[(&str, Value)],
        headers: &[&str],
    ) -> Self {
        let mut answer = json!({
            "description": description,
            "headers": header_references(headers),
        });
        if !types.is_empty() {
            answer["content"] = content(types);
        }
        self.answers.insert(status.as_str().to_owned(), answer);
        self
    }

    /// Adds refusals.
    pub(crate) fn refuses(mut self, kinds: &[Kind]) -> Self {
        for kind in kinds {
            if !self.problems.contains(kind) {
                self.problems.push(*kind);
            }
        }
        self
    }

    /// Adds an extension field, `x-…`.
    pub(crate) fn extended(mut self, name: &str, value: Value) -> Self {
        self.extensions.insert(name.to_owned(), value);
        self
    }

    /// Returns the operation object.
    pub(crate) fn to_json(&self) -> Value {
        let mut responses = self.answers.clone();
        for kind in &self.problems {
            let status = kind.status().as_str().to_owned();
            let response = responses.entry(status).or_insert_with(|| refusal(*kind));
            for name in headers_of(*kind) {
                response["headers"][*name] = header_reference(name);
            }
            let schema = &mut response["content"][PROBLEM_JSON]["schema"];
            if schema.is_null() {
                *schema = refusal_schema();
            }
            if let Some(types) = schema["properties"]["type"]["enum"].as_array_mut() {
                types.push(json!(format!("/problems/{}", kind.slug())));
            }
        }
        responses.sort_keys();
        let mut operation = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "parameters": self.parameters,
            "responses": responses,
        });
        if let Some(description) = &self.description {
            operation["description"] = description.as_str().into();
        }
        if let Some(body) = &self.body {
            operation["requestBody"] = body.clone();
        }
        for (name, value) in &self.extensions {
            operation[name.as_str()] = value.clone();
        }
        operation
    }
}

/// Returns a refusal. Its types are added one by one.
fn refusal(kind: Kind) -> Value {
    json!({
        "description": kind.status().canonical_reason().unwrap_or("Refused"),
        "headers": header_references(&[]),
        "content": {},
    })
}

fn headers_of(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::IdempotencyKeyInUse | Kind::TooManyRequests => &["Retry-After"],
        Kind::MethodNotAllowed => &["Allow"],
        Kind::Unauthenticated | Kind::Forbidden => &["WWW-Authenticate"],
        _ if kind.status() == StatusCode::SERVICE_UNAVAILABLE => &["Retry-After"],
        _ => &[],
    }
}

fn header_reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

fn refusal_schema() -> Value {
    json!({
        "$ref": "#/components/schemas/Problem",
        "type": "object",
        "properties": {"type": {"enum": []}},
    })
}

fn content(types: &[(&str, Value)]) -> Value {
    let one = |(kind, schema): &(&str, Value)| ((*kind).to_owned(), json!({"schema": schema}));
    types.iter().map(one).collect::<Map<_, _>>().into()
}

fn header_references(names: &[&str]) -> Value {
    let all = names.iter().chain(&["X-Request-Id"]);
    all.map(|name| ((*name).to_owned(), header_reference(name)))
        .collect::<Map<_, _>>()
        .into()
}

/// Returns a reference to a schema.
pub(crate) fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Returns the schema of any text.
pub(crate) fn text() -> Value {
    json!({"type": "string"})
}

/// Returns the schema of a time.
pub(crate) fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// Returns the schema of `*` or a list of entity tags (RFC 9110, section 8.8.3).
pub(crate) fn entity_tags() -> Value {
    const TAG: &str = r#"(W/)?"[!#-~]*""#;
    json!({"type": "string", "pattern": format!(r"^(\*|{TAG}(, ?{TAG})*)$")})
}

/// Returns the schema of a whole number within bounds.
pub(crate) fn integer(least: usize, most: usize) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

/// Returns the schema of one of these words.
pub(crate) fn one_of(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}
