//! Row policies against a real server: the query of a bound policy, joined with a user's filter, selects there what the
//! joined filter selects here.

use std::collections::HashSet;
use std::env;
use std::time::Instant;

use bson::{Bson, Document, RawDocumentBuf, doc};
use tidegate::filter::{Filter, FilterIndex};
use tidegate::internal::{BoundPolicy, Claims, Policy};

use super::harness::{Harness, Outcome, pool};
use super::policy_inputs;
use super::random::Random;

/// The pairs of a run of the suite, of a filter and a document each.
const PAIRS: usize = 60_000;
/// The documents of a round, the policies that are compared on them, and the filters of each policy.
const DOCUMENTS: usize = 100;
const POLICIES: usize = 80;
const USERS: usize = 6;

/// The counts of a run.
#[derive(Default)]
struct Tally {
    pairs: usize,
    selected: usize,
    policies: usize,
    refused: usize,
    unsatisfied: usize,
    /// Documents that a policy refuses for an array, and that would be within it without its guards.
    guarded: usize,
    differences: Vec<String>,
}

#[tokio::test]
async fn what_is_within_a_policy_here_is_so_on_a_server() {
    let number = |name: &str, otherwise: u64| {
        let given = env::var(name).ok();
        given.map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let pairs = number("TEST_TIDEGATE_POLICY_PAIRS", PAIRS as u64);
    let seed = number("TEST_TIDEGATE_SEED", 20_261_204);
    let pairs = usize::try_from(pairs).expect("a number of pairs");
    let harness = super::harness().await;
    let (mut random, mut tally) = (Random::new(seed), Tally::default());
    let began = Instant::now();
    while tally.pairs < pairs && tally.differences.len() < 10 {
        round(&harness, &mut random, &mut tally).await;
    }
    println!(
        "seed {seed}: {} pairs ({} matches), {} policies ({} refused, {} unsatisfied), {} documents kept out for an \
         array, {} differences, {:.1} s",
        tally.pairs,
        tally.selected,
        tally.policies,
        tally.refused,
        tally.unsatisfied,
        tally.guarded,
        tally.differences.len(),
        began.elapsed().as_secs_f64(),
    );
    assert!(tally.differences.is_empty(), "{:#?}", tally.differences);
    assert!(tally.selected > pairs / 50 && tally.guarded > pairs / 1_000);
    assert!(tally.refused < tally.policies / 2 && tally.unsatisfied < tally.policies / 2);
}

async fn round(harness: &Harness, random: &mut Random, tally: &mut Tally) {
    let documents = (0..DOCUMENTS).map(|_| policy_inputs::document(random));
    let documents: Vec<Document> = documents.collect();
    let raw = harness.replace_documents(&documents).await;
    let pool = pool(&documents);
    for _ in 0..POLICIES {
        let template = policy_inputs::template(random, &pool);
        let claims = policy_inputs::claims(random);
        tally.policies += 1;
        let stored = to_raw(&doc! {"_id": "p", "read": &template});
        let Ok(policy) = Policy::read(&stored) else {
            tally.refused += 1;
            continue;
        };
        let Ok(bound) = policy.bind(Some("a"), &Claims::read(&to_raw(&claims))) else {
            tally.unsatisfied += 1;
            continue;
        };
        let case = Case {
            harness,
            raw: &raw,
            documents: &documents,
            bound: &bound,
            about: format!("policy {template} claims {claims}"),
        };
        case.check_policy(&template, &claims, tally).await;
        let users = (0..USERS).map(|_| policy_inputs::user(random, &pool));
        case.check_users(&users.collect::<Vec<_>>(), tally).await;
    }
}

/// A bound policy, and the documents on which it is tried.
struct Case<'c> {
    harness: &'c Harness,
    raw: &'c [RawDocumentBuf],
    documents: &'c [Document],
    bound: &'c BoundPolicy,
    about: String,
}

impl Case<'_> {
    /// Compares the policy with its own query on the server, and that with the template as its author understands it.
    async fn check_policy(&self, template: &Document, claims: &Document, tally: &mut Tally) {
        let server = self.harness.ask_server(&self.bound.query()).await;
        let permitted = self.places(|document| self.bound.permits(document));
        if server != Outcome::Selected(permitted.clone()) {
            let about = format!("{}: server {server:?}, permits {permitted:?}", self.about);
            return tally.differences.push(about);
        }
        let naive = self
            .harness
            .ask_server(&substituted(template, claims))
            .await;
        let Outcome::Selected(naive) = naive else {
            return tally.differences.push(format!("{}: {naive:?}", self.about));
        };
        let (paths, positive) = (paths(template), positive_paths(template));
        for (place, document) in self.documents.iter().enumerate() {
            let any = |paths: &[String]| paths.iter().any(|path| has_array(document, path));
            let (within, plain) = (permitted.contains(&place), naive.contains(&place));
            let sound = if within { plain } else { !plain || any(&paths) };
            if !sound || (within && any(&positive)) {
                let about = format!(
                    "{}: {document} permitted {within}, naively {plain}",
                    self.about
                );
                tally.differences.push(about);
            }
            tally.guarded += usize::from(plain && !within);
        }
    }

    /// Compares users' filters within the policy, each alone and in an index.
    async fn check_users(&self, users: &[Document], tally: &mut Tally) {
        let (mut index, mut expected) = (FilterIndex::new(), HashSet::new());
        for (key, user) in users.iter().enumerate() {
            let Ok(filter) = Filter::parse(&to_raw(user)) else {
                continue;
            };
            let narrowed = self.bound.narrow(&filter);
            let both = doc! {"$and": [self.bound.query(), user]};
            let server = self.harness.ask_server(&both).await;
            let ours = self.places(|document| narrowed.matches(document));
            tally.pairs += self.raw.len();
            tally.selected += ours.len();
            expected.extend(ours.iter().map(|place| (*place, key)));
            if server != Outcome::Selected(ours.clone()) {
                let about = format!(
                    "{} user {user}: server {server:?}, ours {ours:?}",
                    self.about
                );
                tally.differences.push(about);
            }
            index.insert(key, narrowed);
        }
        let mut found = HashSet::new();
        for (place, document) in self.raw.iter().enumerate() {
            let mut keys = Vec::new();
            index.matching(document, &mut keys);
            found.extend(keys.into_iter().map(|key| (place, key)));
        }
        if found != expected {
            tally
                .differences
                .push(format!("{}: in an index", self.about));
        }
    }

    fn places(&self, holds: impl Fn(&RawDocumentBuf) -> bool) -> HashSet<usize> {
        let documents = self.raw.iter().enumerate();
        let holding = documents.filter(|(_, document)| holds(document));
        holding.map(|(place, _)| place).collect()
    }
}

fn to_raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("raw bytes")
}

/// Puts the claims into a template in the plainest way, for the tenant a.
fn substituted(template: &Document, claims: &Document) -> Document {
    let members = template.iter().map(|(name, value)| {
        let value = substituted_value(value, claims);
        // One value is a list of one.
        let value = match (name.as_str(), value) {
            ("$in" | "$nin", Bson::Array(list)) => list.into(),
            ("$in" | "$nin", one) => vec![one].into(),
            (_, value) => value,
        };
        (name.clone(), value)
    });
    members.collect()
}

fn substituted_value(value: &Bson, claims: &Document) -> Bson {
    match value {
        Bson::String(text) if text == "$claims.tenant" => "a".into(),
        Bson::String(text) => match text.strip_prefix("$claims.") {
            Some(name) => claims.get(name).expect("a claim").clone(),
            None => value.clone(),
        },
        Bson::Document(document) => substituted(document, claims).into(),
        Bson::Array(list) => {
            let list = list.iter().map(|value| substituted_value(value, claims));
            list.collect::<Vec<_>>().into()
        }
        value => value.clone(),
    }
}

/// Returns all paths that a query asks for.
fn paths(query: &Document) -> Vec<String> {
    let mut all = Vec::new();
    for (name, value) in query {
        match value {
            Bson::Array(branches) if name.starts_with('$') => {
                all.extend(
                    branches
                        .iter()
                        .filter_map(Bson::as_document)
                        .flat_map(paths),
                );
            }
            _ if name.starts_with('$') => {}
            _ => all.push(name.clone()),
        }
    }
    all
}

/// Returns the paths that every matching document must pass a test at, as far as they are plain to see.
fn positive_paths(query: &Document) -> Vec<String> {
    let negations = ["$ne", "$nin", "$not"];
    let positive = |value: &Bson| match value {
        Bson::Document(operators) => operators.iter().any(|(name, operand)| {
            let absent = name == "$exists" && *operand == Bson::Boolean(false);
            !absent && !negations.contains(&name.as_str())
        }),
        _ => true,
    };
    let fields = query.iter().filter(|(name, _)| !name.starts_with('$'));
    fields
        .filter(|(_, value)| positive(value))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Whether there is an array on a path, or at its end.
fn has_array(document: &Document, path: &str) -> bool {
    let mut document = document;
    for name in path.split('.') {
        match document.get(name) {
            Some(Bson::Array(_)) => return true,
            Some(Bson::Document(below)) => document = below,
            _ => return false,
        }
    }
    false
}

/// The published ways around a row policy, tried on the server too.
#[tokio::test]
async fn attacks_that_worked_elsewhere() {
    let documents = [
        doc! {"tenant": "a", "data": {"tenant": "a"}},
        doc! {"tenant": ["b", "a"], "data": {"tenant": ["b", "a"]}},
        doc! {"tenant": [["a"]], "data": {"tenant": [["a"]]}},
        doc! {"tenant": [{"tenant": "a"}], "data": [{"tenant": "a"}]},
        doc! {"tenant": {"0": "a"}, "data": [[{"tenant": "a"}]]},
        doc! {"tenant": Bson::Null, "data": {"tenant": Bson::Null}},
        doc! {"tenant": "$claims.tenant", "data": {"tenant": "$claims.tenant"}},
        doc! {"tenant": {"$eq": "a"}, "data.tenant": "a"},
        doc! {},
    ];
    let harness = super::harness().await;
    let raw = harness.replace_documents(&documents).await;
    for path in ["tenant", "data.tenant"] {
        let stored = doc! {"_id": "p", "read": {path: "$claims.tenant"}};
        let policy = Policy::read(&to_raw(&stored)).expect("a policy");
        let bound = policy
            .bind(Some("a"), &Claims::default())
            .expect("a tenant");
        for (user, selected) in [
            (doc! {}, &[0][..]),
            (doc! {path: "a"}, &[0]),
            (doc! {path: "$claims.tenant"}, &[]),
            (doc! {path: {"$in": ["$claims.tenant"]}}, &[]),
            (doc! {path: {"$ne": "$claims.tenant"}}, &[0]),
            (doc! {"$or": [{}, {path: {"$exists": false}}]}, &[0]),
            (doc! {"$nor": [{path: "a"}]}, &[]),
            (doc! {path: Bson::Null}, &[]),
        ] {
            let selected: HashSet<usize> = selected.iter().copied().collect();
            let both = doc! {"$and": [bound.query(), &user]};
            let server = harness.ask_server(&both).await;
            assert_eq!(server, Outcome::Selected(selected.clone()), "{both}");
            let narrowed = bound.narrow(&Filter::parse(&to_raw(&user)).expect("a filter"));
            for (place, document) in raw.iter().enumerate() {
                let expected = selected.contains(&place);
                assert_eq!(narrowed.matches(document), expected, "{both} {document:?}");
            }
        }
    }
}
