//! The bodies of requests that make or change a key.

use bson::{DateTime, Document, RawDocumentBuf};
use serde_json::Value;

use crate::{
    access::{
        Claims, Fingerprint, MOST_CLAIMS, NewKey, SaidQuotas, Scope, Scopes, is_tenant,
        parse_fingerprint,
    },
    config::Origin,
    http::edge::{fields::Fields, problem::Problem},
};

/// The longest name, in characters.
const NAME_CHARS: usize = 200;
/// The most entries in a list.
const MOST_ENTRIES: usize = 100;
/// The longest text in a list, or of a tenant or policy, in bytes.
const TEXT_BYTES: usize = 200;

/// The fields that a request to make a key may have.
const FIELDS: [&str; 11] = [
    "name",
    "scopes",
    "tenant",
    "policy",
    "claims",
    "networks",
    "origins",
    "subscriptions",
    "limits",
    "expiresAt",
    "certificate",
];
/// The fields that a key may change in.
const CHANGEABLE: [&str; 6] = [
    "name",
    "networks",
    "origins",
    "subscriptions",
    "limits",
    "expiresAt",
];

/// Reads a request to make a key.
pub(super) fn new_key(bytes: &[u8], now: DateTime) -> Result<NewKey, Problem> {
    let mut fields = Fields::read(bytes, &FIELDS)?;
    let scopes = fields.scopes();
    let key = fields.key(scopes, now);
    fields.finish(key)
}

/// Reads a request to change a key. Returns the names of the fields that it gives, and their values.
pub(super) fn changes(bytes: &[u8], now: DateTime) -> Result<(Vec<String>, NewKey), Problem> {
    let mut fields = Fields::read(bytes, &CHANGEABLE)?;
    let named = fields.members.keys().cloned().collect();
    let key = fields.key(Scopes::NONE, now);
    fields.finish((named, key))
}

impl Fields {
    fn key(&mut self, scopes: Scopes, now: DateTime) -> NewKey {
        NewKey {
            scopes,
            name: self.text("name", NAME_CHARS),
            tenant: self.text("tenant", TEXT_BYTES).filter(|tenant| {
                let sound = is_tenant(tenant);
                if !sound {
                    let reason = "must not be empty or contain a colon";
                    self.faults.blame("#/tenant", reason);
                }
                sound
            }),
            policy: self.text("policy", TEXT_BYTES),
            claims: self.claims(),
            networks: self.list("networks", "a network such as 10.0.0.0/8", |text| {
                text.parse().ok()
            }),
            origins: self.list("origins", "an origin such as https://example.com", |text| {
                Origin::parse(text).ok().map(|_| text.to_owned())
            }),
            subscriptions: self.list("subscriptions", "an id", |text| Some(text.to_owned())),
            quotas: self.quotas(),
            expires_at: self.future("expiresAt", now),
            certificate: self.certificate(),
        }
    }

    fn certificate(&mut self) -> Option<Fingerprint> {
        let given = self.take("certificate")?;
        let fingerprint = given.as_str().and_then(parse_fingerprint);
        if fingerprint.is_none() {
            let reason = "must be the SHA-256 of a certificate: 64 hex digits, perhaps with colons";
            self.faults.blame("#/certificate", reason);
        }
        fingerprint
    }

    fn scopes(&mut self) -> Scopes {
        let known = || {
            let names = Scope::ALL.map(Scope::as_str);
            names.join(", ")
        };
        let Some(Value::Array(names)) = self.take("scopes") else {
            let reason = format!("must be an array of scopes: {}", known());
            self.faults.blame("#/scopes", reason);
            return Scopes::NONE;
        };
        let mut scopes = Vec::new();
        for (index, name) in names.iter().enumerate().take(MOST_ENTRIES) {
            match name.as_str().and_then(Scope::parse) {
                Some(scope) => scopes.push(scope),
                None => self.faults.blame(
                    format_args!("#/scopes/{index}"),
                    format!("is not a scope: {}", known()),
                ),
            }
        }
        scopes.into_iter().collect()
    }

    fn claims(&mut self) -> Option<Claims> {
        let Value::Object(given) = self.take("claims")? else {
            self.faults.blame("#/claims", "must be an object");
            return None;
        };
        let count = given.len();
        if count > MOST_CLAIMS {
            let reason = format!("must be at most {MOST_CLAIMS}");
            self.faults.blame("#/claims", reason);
            return None;
        }
        let document = bson::Document::try_from(given).ok();
        let raw = document.and_then(|document| RawDocumentBuf::try_from(&document).ok());
        let claims = raw.map(|raw| Claims::read(&raw)).unwrap_or_default();
        if claims.len() < count {
            let reason = "must be strings that are not empty, numbers, booleans, or lists of up to 64 of them";
            self.faults.blame("#/claims", reason);
        }
        Some(claims)
    }

    fn list<T>(
        &mut self,
        name: &str,
        what: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let values = match self.take(name)? {
            Value::Array(values) if values.len() <= MOST_ENTRIES => values,
            _ => {
                let reason = format!("must be an array of at most {MOST_ENTRIES}");
                self.faults.blame(format_args!("#/{name}"), reason);
                return None;
            }
        };
        let mut list = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            let text = value.as_str().filter(|text| text.len() <= TEXT_BYTES);
            match text.and_then(&read) {
                Some(entry) => list.push(entry),
                None => self
                    .faults
                    .blame(format_args!("#/{name}/{index}"), format!("must be {what}")),
            }
        }
        Some(list)
    }

    fn quotas(&mut self) -> SaidQuotas {
        let given = match self.take("limits") {
            None => return SaidQuotas::default(),
            Some(Value::Object(given)) => given,
            Some(_) => {
                self.faults.blame("#/limits", "must be an object");
                return SaidQuotas::default();
            }
        };
        let document = Document::try_from(given).ok();
        let raw = document.and_then(|document| RawDocumentBuf::try_from(&document).ok());
        let Some(raw) = raw else {
            self.faults.blame("#/limits", "cannot be read");
            return SaidQuotas::default();
        };
        SaidQuotas::read(&raw).unwrap_or_else(|fault| {
            let name = fault.name.replace('~', "~0").replace('/', "~1");
            self.faults
                .blame(format_args!("#/limits/{name}"), fault.reason);
            SaidQuotas::default()
        })
    }
}
