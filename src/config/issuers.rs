//! The sections `[issuers.NAME]`: who issues tokens, and what is believed of them.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;
use url::Url;

use super::{Config, ConfigError, duration, is_loopback};

/// The longest name of an issuer.
const NAME_BYTES: usize = 32;
/// The name under which keys own subscriptions.
const OF_KEYS: &str = "key";

/// An issuer of tokens (`[issuers.NAME]`). The name stands before the subject in the names of owners (`NAME:SUBJECT`), and in
/// revocations.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Issuer {
    /// The claim `iss` of its tokens, exactly. Needed.
    pub issuer: String,
    /// The audiences of which a token must name one. Needed.
    pub audience: Vec<String>,
    /// The address of its keys, a JWK set (RFC 7517). One of three sources is needed.
    pub jwks_url: String,
    /// A file with its public keys, as PEM or as a JWK set.
    pub keys_file: String,
    /// A file with the secret of HS256, HS384 and HS512, at least 32 bytes.
    pub secret_file: String,
    /// The algorithms that it signs with. Default `RS256`, `ES256` and `EdDSA`.
    pub algorithms: Vec<String>,
    /// The type that its tokens have in their header; empty takes any. Default `at+jwt`.
    pub typ: String,
    /// The claim that names the tenant. This, `tenant` or `admin` is needed.
    pub tenant_claim: String,
    /// The tenant of all its tokens.
    pub tenant: String,
    /// The claim with the scopes: a text with blanks, or a list of texts. Default `scope`.
    pub scope_claim: String,
    /// The most that a token gets. Needed.
    pub scopes: Vec<String>,
    /// The scopes of a token that names none. Default none.
    pub default_scopes: Vec<String>,
    /// The policy of its callers. Default: `default` for callers with a tenant, else none.
    pub policy: String,
    /// True if its tokens may be operators': those without a tenant, and `admin` among the scopes. Default false.
    pub admin: bool,
    /// The difference of clocks that is allowed for. Default `30s`.
    #[serde(deserialize_with = "duration")]
    pub leeway: Duration,
    /// The longest time that a token may still be valid for. Default `24h`.
    #[serde(deserialize_with = "duration")]
    pub max_lifetime: Duration,
    /// The time between two reads of its keys. Default `10m`.
    #[serde(deserialize_with = "duration")]
    pub jwks_refresh: Duration,
    /// The time for which keys count that cannot be read again. Default `24h`.
    #[serde(deserialize_with = "duration")]
    pub jwks_stale: Duration,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: Vec::new(),
            jwks_url: String::new(),
            keys_file: String::new(),
            secret_file: String::new(),
            algorithms: ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec(),
            typ: "at+jwt".to_owned(),
            tenant_claim: String::new(),
            tenant: String::new(),
            scope_claim: "scope".to_owned(),
            scopes: Vec::new(),
            default_scopes: Vec::new(),
            policy: String::new(),
            admin: false,
            leeway: Duration::from_secs(30),
            max_lifetime: Duration::from_hours(24),
            jwks_refresh: Duration::from_mins(10),
            jwks_stale: Duration::from_hours(24),
        }
    }
}

impl Issuer {
    /// Checks what types cannot say. The error is the setting, and what is wrong with it.
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.issuer.is_empty() {
            return Err(("issuer", "is needed: the claim `iss` of its tokens"));
        }
        if self.audience.is_empty() || self.audience.iter().any(String::is_empty) {
            let reason = "is needed: the names under which this service is in the claim `aud`";
            return Err(("audience", reason));
        }
        self.check_source()?;
        self.check_algorithms()?;
        self.check_tenancy()?;
        self.check_scopes()?;
        if self.jwks_refresh > self.jwks_stale {
            return Err(("jwks_refresh", "must not be more than jwks_stale"));
        }
        Ok(())
    }

    fn check_source(&self) -> Result<(), (&'static str, &'static str)> {
        let sources = [&self.jwks_url, &self.keys_file, &self.secret_file];
        if sources.iter().filter(|source| !source.is_empty()).count() != 1 {
            let reason = "is needed, or keys_file or secret_file, and no two of them";
            return Err(("jwks_url", reason));
        }
        if self.jwks_url.is_empty() {
            return Ok(());
        }
        let refuse = |reason| Err(("jwks_url", reason));
        let Ok(url) = Url::parse(&self.jwks_url) else {
            return refuse("is not an address");
        };
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return refuse("has more than scheme, host, port, path and query");
        }
        match (url.scheme(), url.host()) {
            ("https", Some(_)) => Ok(()),
            ("http", Some(host)) if is_loopback(&host.to_owned()) => Ok(()),
            ("http", Some(_)) => {
                refuse("must be https: whoever is on the way could choose the keys")
            }
            _ => refuse("is not an https address"),
        }
    }

    fn check_algorithms(&self) -> Result<(), (&'static str, &'static str)> {
        if self.algorithms.is_empty() {
            return Err(("algorithms", "must name at least one"));
        }
        let symmetric = |name: &String| name.starts_with("HS");
        let of_secret = !self.secret_file.is_empty();
        if self
            .algorithms
            .iter()
            .all(|name| symmetric(name) == of_secret)
        {
            return Ok(());
        }
        let reason = if of_secret {
            "must be HS256, HS384 or HS512 beside secret_file"
        } else {
            // The public key would be the secret.
            "must not be HS256, HS384 or HS512 beside public keys"
        };
        Err(("algorithms", reason))
    }

    fn check_tenancy(&self) -> Result<(), (&'static str, &'static str)> {
        match (self.tenant.is_empty(), self.tenant_claim.is_empty()) {
            (true, true) if !self.admin => Err((
                "tenant_claim",
                "is needed, or tenant: without either, everybody with a token would see all tenants \
                 (admin = true says that this is meant)",
            )),
            (false, false) => Err(("tenant", "is one for all tokens: leave out tenant_claim")),
            _ if self.tenant.contains(':') => Err(("tenant", "must not contain a colon")),
            _ => Ok(()),
        }
    }

    fn check_scopes(&self) -> Result<(), (&'static str, &'static str)> {
        if self.scopes.is_empty() {
            return Err((
                "scopes",
                "must name at least one: the most that a token gets",
            ));
        }
        if !self.admin && self.scopes.iter().any(|scope| scope == "admin") {
            return Err(("scopes", "must not name admin without admin = true"));
        }
        let granted = |scope: &String| self.scopes.contains(scope);
        if !self.default_scopes.iter().all(granted) {
            return Err(("default_scopes", "must be among scopes"));
        }
        Ok(())
    }
}

impl Config {
    /// Checks the issuers, each for itself and beside the others.
    pub(super) fn check_issuers(&self) -> Result<(), ConfigError> {
        let mut seen = BTreeSet::new();
        for (name, issuer) in &self.issuers {
            let refuse = |setting: &str, reason: &str| {
                let setting = if is_name(name) {
                    format!("issuers.{name}{setting}")
                } else {
                    "issuers".to_owned()
                };
                Err(ConfigError::refused(setting, reason))
            };
            if !is_name(name) {
                let reason = "a name has 1 to 32 of a-z, 0-9, - and single _, and is not \"key\"";
                return refuse("", reason);
            }
            if let Err((setting, reason)) = issuer.check() {
                return refuse(&format!(".{setting}"), reason);
            }
            if !seen.insert(&issuer.issuer) {
                return refuse(".issuer", "is that of another one too");
            }
        }
        Ok(())
    }
}

/// Whether a text can name an issuer. A variable has it in capitals, and two underscores end it there.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    (1..=NAME_BYTES).contains(&name.len())
        && name.chars().all(plain)
        && !name.contains("__")
        && name != OF_KEYS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigError, SETTINGS};

    /// The settings that every issuer needs, and no more.
    const LEAST: &str = "[issuers.main]\nissuer = \"https://id.example.com/\"\naudience = [\"feed\"]\n\
        jwks_url = \"https://id.example.com/jwks.json\"\ntenant_claim = \"tenant\"\nscopes = [\"events:read\"]\n";

    fn load(toml: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        Config::load(Some(file.path()), &[]).map(|loaded| loaded.config)
    }

    fn refusal(toml: &str) -> String {
        load(toml).expect_err(toml).to_string()
    }

    #[test]
    fn an_issuer_needs_a_name_an_audience_keys_a_tenant_and_scopes() {
        let config = load(LEAST).unwrap();
        let issuer = &config.issuers["main"];
        assert_eq!(issuer.algorithms, ["RS256", "ES256", "EdDSA"]);
        assert_eq!(issuer.leeway, Duration::from_secs(30));
        for line in LEAST.lines().skip(1) {
            let without = LEAST.replace(line, "");
            let (setting, _) = line.split_once(" = ").unwrap();
            let refused = refusal(&without);
            let named = format!("issuers.main.{setting}: ");
            assert!(refused.starts_with(&named), "{refused}");
        }
        let operators = LEAST.replace("tenant_claim = \"tenant\"", "admin = true");
        assert!(load(&operators).unwrap().issuers["main"].admin);
        assert!(refusal("[issuers.main]\n").contains("says nothing"));
    }

    #[test]
    fn what_would_let_in_others_than_are_meant_is_refused() {
        for (from, to, named) in [
            (
                "https://id.example.com/jwks",
                "http://id.example.com/jwks",
                "jwks_url: must be https",
            ),
            (
                "https://id.example.com/jwks",
                "https://u:p@id.example.com/jwks",
                "jwks_url",
            ),
            ("https://id.example.com/jwks", "file:///jwks", "jwks_url"),
            (
                "jwks_url",
                "keys_file = \"a\"\njwks_url",
                "jwks_url: is needed, or",
            ),
            (
                "jwks_url",
                "secret_file = \"a\"\njwks_url",
                "jwks_url: is needed, or",
            ),
            (
                "scopes",
                "algorithms = [\"RS256\", \"HS256\"]\nscopes",
                "algorithms: must not",
            ),
            (
                "scopes",
                "algorithms = [\"none\"]\nscopes",
                "algorithms: must be a list of RS256",
            ),
            ("scopes", "algorithms = []\nscopes", "algorithms: must name"),
            ("jwks_url", "secret_file", "algorithms: must be HS256"),
            (
                "tenant_claim",
                "tenant = \"acme\"\ntenant_claim",
                "tenant: is one",
            ),
            (
                "tenant_claim = \"tenant\"",
                "tenant = \"a:b\"",
                "tenant: must not",
            ),
            (
                "[\"events:read\"]",
                "[\"admin\"]",
                "scopes: must not name admin",
            ),
            (
                "[\"events:read\"]",
                "[\"everything\"]",
                "scopes: must be a list of subscriptions:own",
            ),
            (
                "scopes",
                "default_scopes = [\"metrics\"]\nscopes",
                "default_scopes: must be among",
            ),
            (
                "scopes",
                "jwks_stale = \"1m\"\nscopes",
                "jwks_refresh: must not be more",
            ),
            (
                "scopes",
                "leeway = \"6m\"\nscopes",
                "leeway: must be a span",
            ),
        ] {
            let toml = LEAST.replacen(from, to, 1);
            let refused = refusal(&toml);
            assert!(
                refused.starts_with(&format!("issuers.main.{named}")),
                "{toml}: {refused}"
            );
        }
        let loopback = LEAST.replace("https://id.example.com/jwks", "http://[::1]:8000/jwks");
        assert!(load(&loopback).is_ok());
        let twice = format!("{LEAST}{}", LEAST.replace("main", "other"));
        assert!(refusal(&twice).contains("issuers.other.issuer: is that of another"));
    }

    #[test]
    fn a_name_is_no_other_owners_and_can_be_in_a_variable() {
        for name in ["a", "my_idp", "idp-2", &"n".repeat(32)] {
            let toml = LEAST.replace("issuers.main", &format!("issuers.{name}"));
            assert!(load(&toml).is_ok(), "{name}");
        }
        for name in [
            "key",
            "Main",
            "a__b",
            "\"a:b\"",
            "\"\"",
            &"n".repeat(33),
            "\"a b\"",
            "\"ü\"",
        ] {
            let toml = LEAST.replace("issuers.main", &format!("issuers.{name}"));
            assert!(refusal(&toml).starts_with("issuers: a name has"), "{name}");
        }
        let flags = [("issuers.main.leeway", "5s".to_owned())];
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), LEAST).unwrap();
        let config = Config::load(Some(file.path()), &flags).unwrap().config;
        assert_eq!(config.issuers["main"].leeway, Duration::from_secs(5));
        for name in [
            "issuers",
            "issuers.main",
            "issuers.main.leway",
            "issuers.main.a.b",
        ] {
            let unknown = Config::load(None, &[(name, "5s".to_owned())]);
            let unknown = unknown.unwrap_err().to_string();
            assert!(
                unknown.starts_with(&format!("{name}: there is no such")),
                "{unknown}"
            );
        }
        let rows = SETTINGS
            .iter()
            .filter(|row| row.name.starts_with("issuers.NAME."));
        assert_eq!(rows.count(), 18);
    }
}
