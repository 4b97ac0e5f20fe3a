//! Policies and keys that deserve a look.

use bson::RawBsonRef;

use crate::{
    access::{Policy, StoredKey},
    extjson::plain_text,
    store::{KeyQuery, Store, StoreError},
};

/// The most keys that are read at once.
const PAGE: usize = 1_000;
/// Bytes of keys that are read at once.
const PAGE_BYTES: usize = 8 << 20;

/// A survey of policies and keys, made by reading alone.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AccessSurvey {
    /// The number of policies.
    pub policies: usize,
    /// The policies that cannot be used: each a name, and the fault.
    pub broken: Vec<(String, String)>,
    /// The policies that let everything through (`read: {}`).
    pub open: Vec<String>,
    /// The number of keys that can be used.
    pub keys: usize,
    /// The ids of those that never expire.
    pub lasting: Vec<String>,
}

impl Store {
    /// Surveys the policies and keys.
    pub async fn survey_access(&self) -> Result<AccessSurvey, StoreError> {
        let mut survey = AccessSurvey::default();
        for document in self.all_policies().await? {
            survey.policies += 1;
            let name = match document.get("_id") {
                Ok(Some(id)) => plain_text(id).unwrap_or_default(),
                _ => String::new(),
            };
            match Policy::read(&document) {
                Err(fault) => survey.broken.push((name, fault.to_string())),
                Ok(policy) if policy.permits_everything() => survey.open.push(name),
                Ok(_) => {}
            }
        }
        self.survey_keys(&mut survey).await?;
        Ok(survey)
    }

    async fn survey_keys(&self, survey: &mut AccessSurvey) -> Result<(), StoreError> {
        let mut query = KeyQuery {
            tenant: None,
            after: None,
            limit: PAGE,
            bytes: PAGE_BYTES,
        };
        loop {
            let keys = self.list_keys(&query).await?;
            for key in &keys.documents {
                let Ok(stored) = StoredKey::read(key) else {
                    continue;
                };
                survey.keys += 1;
                // A certificate has an end of its own.
                let has_text = stored.certificate().is_none();
                if has_text && matches!(key.get("expiresAt"), Ok(None | Some(RawBsonRef::Null))) {
                    let id = key.get_str("_id").unwrap_or_default();
                    survey.lasting.push(id.to_owned());
                }
            }
            match keys.documents.last() {
                Some(last) if !keys.exhausted => {
                    query.after = Some(last.get_str("_id").unwrap_or_default().to_owned());
                }
                _ => return Ok(()),
            }
        }
    }
}
