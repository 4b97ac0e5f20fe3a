//! Quotas: how much of a node a tenant may take, and one key.
//!
//! The settings bound every tenant. A policy says otherwise for the callers that it is of. A key's own limits bound the
//! key besides, so that they can only lower what its tenant may take.

use std::num::NonZeroU32;

use bson::{Bson, Document, RawBsonRef, RawDocument};

use crate::config;

/// A thing of which a caller may have or do so much.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Quota {
    Subscriptions,
    /// Connections on a node.
    Connections,
    /// Channels on a node: subscriptions on connections.
    Handles,
    /// Events that are published through a node.
    PublishPerSecond,
    /// Sockets and streams that a node is asked for.
    ConnectsPerSecond,
    /// All other requests.
    RequestsPerSecond,
}

impl Quota {
    /// Every quota.
    pub(crate) const ALL: [Self; 6] = [
        Self::Subscriptions,
        Self::Connections,
        Self::Handles,
        Self::PublishPerSecond,
        Self::ConnectsPerSecond,
        Self::RequestsPerSecond,
    ];

    /// Returns its name in the settings, in documents, in problems and in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Subscriptions => "subscriptions",
            Self::Connections => "connections",
            Self::Handles => "handles",
            Self::PublishPerSecond => "publish_per_second",
            Self::ConnectsPerSecond => "connects_per_second",
            Self::RequestsPerSecond => "requests_per_second",
        }
    }

    /// Returns the largest number that it may be set to.
    pub(crate) const fn most(self) -> u32 {
        match self {
            Self::Subscriptions | Self::Connections | Self::Handles => 1_000_000_000,
            Self::PublishPerSecond | Self::ConnectsPerSecond | Self::RequestsPerSecond => 1_000_000,
        }
    }

    /// Returns the quota of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quota| quota.name() == name)
    }

    /// Returns the bound that the settings put on every tenant, if they do.
    pub(crate) const fn of_all(self, settings: &config::Quotas) -> Option<NonZeroU32> {
        NonZeroU32::new(self.of_settings(settings))
    }

    pub(super) const fn of_settings(self, settings: &config::Quotas) -> u32 {
        match self {
            Self::Subscriptions => settings.subscriptions,
            Self::Connections => settings.connections,
            Self::Handles => settings.handles,
            Self::PublishPerSecond => settings.publish_per_second,
            Self::ConnectsPerSecond => settings.connects_per_second,
            Self::RequestsPerSecond => settings.requests_per_second,
        }
    }
}

/// A quota of a document that cannot be used: its name, and the end of a sentence about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct QuotaFault {
    pub name: String,
    pub reason: String,
}

/// The quotas that a policy or a key says. 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct SaidQuotas([Option<u32>; Quota::ALL.len()]);

impl SaidQuotas {
    /// Reads the quotas of a document.
    pub(crate) fn read(document: &RawDocument) -> Result<Self, QuotaFault> {
        let mut said = Self::default();
        for member in document {
            let Ok((name, value)) = member else {
                return Err(QuotaFault {
                    name: String::new(),
                    reason: "is not well-formed".to_owned(),
                });
            };
            let fault = |reason| {
                let name = name.as_str().to_owned();
                Err(QuotaFault { name, reason })
            };
            let Some(quota) = Quota::named(name.as_str()) else {
                let known = Quota::ALL.map(Quota::name).join(", ");
                return fault(format!("is no quota; they are {known}"));
            };
            match whole(value).filter(|number| *number <= quota.most()) {
                Some(number) if said.get(quota).is_none() => said.set(quota, number),
                Some(_) => return fault("is there twice".to_owned()),
                None => return fault(format!("must be a whole number from 0 to {}", quota.most())),
            }
        }
        Ok(said)
    }

    /// Returns the number that is said.
    pub(crate) const fn get(&self, quota: Quota) -> Option<u32> {
        self.0[quota as usize]
    }

    /// Says a number.
    pub(crate) const fn set(&mut self, quota: Quota, number: u32) {
        self.0[quota as usize] = Some(number);
    }

    /// Whether nothing is said.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the bound that is said, if one is.
    pub(crate) const fn bound(&self, quota: Quota) -> Option<NonZeroU32> {
        match self.get(quota) {
            Some(number) => NonZeroU32::new(number),
            None => None,
        }
    }

    /// Returns it as a document.
    pub(crate) fn to_document(self) -> Document {
        let said = Quota::ALL.into_iter().filter_map(|quota| {
            let number = i64::from(self.get(quota)?);
            Some((quota.name().to_owned(), Bson::Int64(number)))
        });
        said.collect()
    }
}

/// Returns a whole number, in whichever type a program has stored it.
fn whole(value: RawBsonRef<'_>) -> Option<u32> {
    match value {
        RawBsonRef::Int32(number) => u32::try_from(number).ok(),
        RawBsonRef::Int64(number) => u32::try_from(number).ok(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and in the range"
        )]
        RawBsonRef::Double(number)
            if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) =>
        {
            Some(number as u32)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{RawDocumentBuf, doc};

    fn read(document: &Document) -> Result<SaidQuotas, QuotaFault> {
        SaidQuotas::read(&RawDocumentBuf::try_from(document).unwrap())
    }

    #[test]
    fn quotas_are_whole_numbers_of_any_type() {
        let document = doc! {"subscriptions": 5, "connections": 0_i64, "publish_per_second": 7.0};
        let said = read(&document).unwrap();
        assert_eq!(said.get(Quota::Subscriptions), Some(5));
        assert_eq!(said.get(Quota::Connections), Some(0));
        assert_eq!(said.bound(Quota::Connections), None);
        assert_eq!(said.get(Quota::PublishPerSecond), Some(7));
        assert_eq!(said.get(Quota::RequestsPerSecond), None);
        assert_eq!(read(&said.to_document()), Ok(said));
        assert!(read(&doc! {}).unwrap().is_empty() && !said.is_empty());
    }

    #[test]
    fn nothing_is_guessed_about_a_quota() {
        for document in [
            doc! {"subscription": 5},
            doc! {"failures_per_minute": 5},
            doc! {"subscriptions": -1},
            doc! {"subscriptions": 1.5},
            doc! {"subscriptions": "5"},
            doc! {"subscriptions": null},
            doc! {"subscriptions": f64::NAN},
            doc! {"subscriptions": i64::MAX},
            doc! {"requests_per_second": 1_000_001},
        ] {
            let name = document.keys().next().unwrap();
            assert_eq!(&read(&document).unwrap_err().name, name, "{document}");
        }
    }
}
