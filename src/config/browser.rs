//! The section `[browser]`: tokens in cookies.

use serde::Deserialize;

/// Tokens in cookies (`[browser]`).
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Browser {
    /// The name of the cookie with a browser's token. Default none: cookies are not looked at.
    pub cookie: String,
}

impl Browser {
    /// Returns the name of the cookie, if one counts.
    pub fn cookie(&self) -> Option<&str> {
        Some(&*self.cookie).filter(|name| !name.is_empty())
    }

    /// Checks the name: with one of these prefixes, a browser takes the cookie over TLS alone.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let Some(name) = self.cookie() else {
            return Ok(());
        };
        let prefixes = ["__Host-", "__Secure-"];
        let Some(rest) = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)) else {
            return Err(
                "must begin with __Host- or __Secure-: browsers take such a cookie over TLS alone",
            );
        };
        // A token (RFC 9110), which the name of a cookie is (RFC 6265).
        let fits = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if rest.is_empty() || !rest.chars().all(fits) {
            return Err("must be a name of letters, digits and -_. behind the prefix");
        }
        Ok(())
    }
}
