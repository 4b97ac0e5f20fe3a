//! The comparison of our matcher with a real server.

use std::collections::HashSet;
use std::fmt;

use bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::{Client, Collection, Database};
use tidegate::filter::{Filter, FilterError};

use super::filters;
use super::random::Random;
use super::shrink;
use super::values;

/// A database on a real server, in which filters are tried.
pub(crate) struct Harness {
    database: Database,
    documents: Collection<RawDocumentBuf>,
}

/// The outcome of one filter: a refusal, or the indexes of the documents that it selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Refused(String),
    Selected(HashSet<usize>),
}

/// A filter on which the two disagree, with the documents concerned.
pub(crate) struct Difference {
    pub(crate) filter: Document,
    pub(crate) document: Option<Document>,
    pub(crate) server: Outcome,
    pub(crate) ours: Outcome,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "filter   {:?}", self.filter)?;
        if let Some(document) = &self.document {
            writeln!(f, "document {document:?}")?;
        }
        writeln!(f, "server   {:?}", self.server)?;
        write!(f, "ours     {:?}", self.ours)
    }
}

/// The counts of a run.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) pairs: usize,
    pub(crate) selected: usize,
    pub(crate) filters: usize,
    pub(crate) refused: usize,
    /// Filters that only we refuse, since they use a feature that is not supported.
    pub(crate) unsupported: usize,
    pub(crate) differences: Vec<Difference>,
}

impl Harness {
    pub(crate) async fn connect(uri: &str, database: &str) -> Self {
        let client = Client::with_uri_str(uri).await.expect("a client");
        let database = client.database(database);
        let documents = database.collection("documents");
        Self {
            database,
            documents,
        }
    }

    /// Compares random filters on random documents, until `pairs` are compared or a few differences are found.
    pub(crate) async fn run(&self, seed: u64, pairs: usize) -> Tally {
        let mut tally = Tally::default();
        let mut random = Random::new(seed);
        while tally.pairs < pairs && tally.differences.len() < 10 {
            self.round(&mut random, &mut tally).await;
        }
        tally
    }

    /// Compares many filters on one batch of documents.
    async fn round(&self, random: &mut Random, tally: &mut Tally) {
        let documents: Vec<_> = (0..100).map(|_| values::document(random, 3)).collect();
        let raw = self.replace_documents(&documents).await;
        let pool = pool(&documents);
        for _ in 0..400 {
            let filter = filters::filter(random, &pool);
            let server = self.ask_server(&filter).await;
            let ours = ask_ourselves(&filter, &raw);
            tally.filters += 1;
            match (&server, &ours) {
                (Outcome::Selected(_), Err(error)) if is_unsupported(error) => {
                    tally.unsupported += 1;
                }
                _ => {
                    let ours = ours.unwrap_or_else(|error| Outcome::Refused(error.to_string()));
                    tally.count(&server, &documents);
                    if !agree(&server, &ours) {
                        let found = self.difference(filter, &documents, server, ours).await;
                        tally.differences.push(found);
                        // Narrowing the difference down has replaced the documents.
                        self.replace_raw(&raw).await;
                    }
                }
            }
        }
    }

    /// Replaces all documents of the collection by `documents`. Returns them as they were sent, with ids.
    pub(crate) async fn replace_documents(&self, documents: &[Document]) -> Vec<RawDocumentBuf> {
        let numbered = (0_i32..)
            .zip(documents)
            .map(|(id, document)| with_id(id, document));
        let raw = numbered.map(|document| RawDocumentBuf::try_from(&document).expect("raw bytes"));
        let raw: Vec<_> = raw.collect();
        self.replace_raw(&raw).await;
        raw
    }

    /// Replaces all documents of the collection by `documents`, whose ids must be their indexes.
    pub(crate) async fn replace_raw(&self, documents: &[RawDocumentBuf]) {
        self.documents.drop().await.expect("a drop");
        self.documents
            .insert_many(documents)
            .await
            .expect("an insert");
    }

    pub(crate) async fn ask_server(&self, filter: &Document) -> Outcome {
        let find = doc! {
            "find": "documents", "filter": filter, "projection": {"_id": 1},
            "batchSize": 100_000, "singleBatch": true,
        };
        match self.database.run_command(find).await {
            Ok(reply) => Outcome::Selected(ids(&reply)),
            Err(error) => Outcome::Refused(error.to_string()),
        }
    }

    /// Narrows a disagreement down to a small filter on one small document.
    async fn difference(
        &self,
        filter: Document,
        documents: &[Document],
        server: Outcome,
        ours: Outcome,
    ) -> Difference {
        let found = match (&server, &ours) {
            (Outcome::Selected(theirs), Outcome::Selected(mine)) => theirs
                .symmetric_difference(mine)
                .next()
                .map(|&place| documents[place].clone()),
            _ => None,
        };
        let mut difference = Difference {
            filter,
            document: found,
            server,
            ours,
        };
        'smaller: for _ in 0..200 {
            for (filter, document) in
                shrink::smaller(&difference.filter, difference.document.as_ref())
            {
                if let Some(smaller) = self.check(&filter, document.as_ref()).await {
                    difference = smaller;
                    continue 'smaller;
                }
            }
            break;
        }
        difference
    }

    /// Finds the disagreement on one filter and one document, if there is one.
    pub(crate) async fn check(
        &self,
        filter: &Document,
        document: Option<&Document>,
    ) -> Option<Difference> {
        let documents: Vec<_> = document.cloned().into_iter().collect();
        let raw = match document {
            Some(_) => self.replace_documents(&documents).await,
            None => Vec::new(),
        };
        let server = self.ask_server(filter).await;
        let ours = ask_ourselves(filter, &raw);
        let ours = match ours {
            Err(error) if is_unsupported(&error) => return None,
            ours => ours.unwrap_or_else(|error| Outcome::Refused(error.to_string())),
        };
        let same = match (&server, &ours) {
            (Outcome::Selected(_), Outcome::Selected(_)) if document.is_none() => true,
            _ => agree(&server, &ours),
        };
        (!same).then(|| Difference {
            filter: filter.clone(),
            document: document.cloned(),
            server,
            ours,
        })
    }
}

impl Tally {
    fn count(&mut self, server: &Outcome, documents: &[Document]) {
        match server {
            Outcome::Selected(places) => {
                self.pairs += documents.len();
                self.selected += places.len();
            }
            Outcome::Refused(_) => self.refused += 1,
        }
    }
}

/// Runs our own matcher on the same bytes.
pub(crate) fn ask_ourselves(
    filter: &Document,
    documents: &[RawDocumentBuf],
) -> Result<Outcome, FilterError> {
    let filter = RawDocumentBuf::try_from(filter).expect("a raw filter");
    let filter = Filter::parse(&filter)?;
    let documents = documents.iter().enumerate();
    let selected: HashSet<_> = documents
        .clone()
        .filter(|(_, document)| filter.matches(document))
        .map(|(place, _)| place)
        .collect();
    // Explanations and warnings must agree with the outcome.
    for (place, document) in documents.take(3) {
        assert_eq!(
            filter.explain(document).holds,
            selected.contains(&place),
            "{filter:?}"
        );
    }
    if let Some(reason) = filter.never_matches() {
        assert!(selected.is_empty(), "{reason} {filter:?}");
    }
    Ok(Outcome::Selected(selected))
}

/// Whether a refusal is about a feature that only the server has.
fn is_unsupported(error: &FilterError) -> bool {
    error.reason.contains("supported") || error.reason.contains("must be followed by")
}

fn agree(server: &Outcome, ours: &Outcome) -> bool {
    match (server, ours) {
        (Outcome::Refused(_), Outcome::Refused(_)) => true,
        (server, ours) => server == ours,
    }
}

fn with_id(id: i32, document: &Document) -> Document {
    let mut numbered = doc! {"_id": id};
    numbered.extend(document.clone());
    numbered
}

fn ids(reply: &Document) -> HashSet<usize> {
    let batch = reply
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    let found = batch.expect("a batch").iter().filter_map(Bson::as_document);
    found
        .map(|found| usize::try_from(found.get_i32("_id").expect("an id")).expect("a place"))
        .collect()
}

/// Collects every value in the documents, at any depth.
pub(crate) fn pool(documents: &[Document]) -> Vec<Bson> {
    let mut pool = vec![Bson::Null];
    let mut queue: Vec<Bson> = documents.iter().cloned().map(Bson::Document).collect();
    while let Some(value) = queue.pop() {
        match &value {
            Bson::Document(document) => queue.extend(document.values().cloned()),
            Bson::Array(array) => queue.extend(array.iter().cloned()),
            _ => {}
        }
        pool.push(value);
    }
    pool
}
