//! Smaller forms of a filter and a document, one step each.

use bson::{Bson, Document};

/// Returns every pair that is one step smaller.
pub(crate) fn smaller(
    filter: &Document,
    document: Option<&Document>,
) -> Vec<(Document, Option<Document>)> {
    let mut pairs: Vec<_> = smaller_document(filter)
        .into_iter()
        .map(|filter| (filter, document.cloned()))
        .collect();
    if let Some(document) = document {
        let documents = smaller_document(document).into_iter();
        pairs.extend(documents.map(|document| (filter.clone(), Some(document))));
    }
    pairs
}

fn smaller_document(document: &Document) -> Vec<Document> {
    let mut results = Vec::new();
    for name in document.keys() {
        let mut without = document.clone();
        without.remove(name);
        results.push(without);
    }
    for (name, value) in document {
        for value in smaller_value(value) {
            // Keeps the order of the fields.
            let replaced = document.iter().map(|(other, old)| {
                (
                    other.clone(),
                    if other == name {
                        value.clone()
                    } else {
                        old.clone()
                    },
                )
            });
            results.push(replaced.collect());
        }
    }
    results
}

fn smaller_value(value: &Bson) -> Vec<Bson> {
    match value {
        Bson::Document(document) => {
            let children = document.values().cloned();
            let parts = smaller_document(document).into_iter().map(Bson::Document);
            children.chain(parts).collect()
        }
        Bson::Array(array) => {
            let mut results = array.clone();
            for place in 0..array.len() {
                let mut without = array.clone();
                without.remove(place);
                results.push(without.into());
                for smaller in smaller_value(&array[place]) {
                    let mut replaced = array.clone();
                    replaced[place] = smaller;
                    results.push(replaced.into());
                }
            }
            results
        }
        Bson::String(text) => text
            .char_indices()
            .map(|(place, character)| {
                let mut shorter = text.clone();
                shorter.replace_range(place..place + character.len_utf8(), "");
                Bson::String(shorter)
            })
            .collect(),
        _ => Vec::new(),
    }
}
