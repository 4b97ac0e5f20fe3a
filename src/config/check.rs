//! The checks that types cannot make: settings together, names, addresses.

use std::time::Duration;

use super::{Auth, Config, ConfigError, Origin, connection_string, host, proxy::network};

/// The budget for all bodies (or answers) must hold the largest one this many times.
const SHARES: usize = 8;

impl Config {
    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |setting: &str, reason: &str| Err(ConfigError::refused(setting, reason));
        if self.needs_insecure() && !self.insecure && self.auth == Auth::None {
            return refuse(
                "auth",
                "\"none\" on an address that is not loopback lets everyone in; \
                 listen on 127.0.0.1, or pass --insecure if something else guards this address",
            );
        }
        if self.needs_insecure() && !self.insecure {
            return refuse(
                "auth",
                "\"required\" on an address that is not loopback needs a connection that nobody else can read; \
                 set [tls], name the proxy that speaks TLS in proxy.trusted, listen on 127.0.0.1, or pass --insecure if something else \
                 guards this address",
            );
        }
        if let Err(reason) = connection_string::read(&self.mongodb_uri) {
            return refuse("mongodb_uri", &reason);
        }
        let name = &self.database;
        if name.is_empty()
            || name.len() > 63
            || name.contains(['/', '\\', '.', '"', '$', '\0'])
            || name.contains(char::is_whitespace)
        {
            return refuse("database", "is not a name that MongoDB allows");
        }
        if connection_string::is_system(name) {
            return refuse("database", "is one of MongoDB's own: choose another name");
        }
        self.check_web()?;
        for (setting, value, other, needed) in [
            (
                "tls.key",
                &self.tls.key,
                "tls.certificate",
                &self.tls.certificate,
            ),
            (
                "tls.certificate",
                &self.tls.certificate,
                "tls.key",
                &self.tls.key,
            ),
            (
                "tls.certificate",
                &self.tls.certificate,
                "tls.client_ca",
                &self.tls.client_ca,
            ),
        ] {
            if value.is_empty() && !needed.is_empty() {
                return refuse(setting, &format!("is needed beside {other}"));
            }
        }
        self.check_issuers()?;
        for (setting, value, bound, most) in self.pairs() {
            if value > most {
                return refuse(setting, &format!("must not be more than {bound}"));
            }
        }
        Ok(())
    }

    /// Checks the host names, origins and proxies.
    fn check_web(&self) -> Result<(), ConfigError> {
        let origins = self.cors.origins.iter().enumerate();
        for (index, text) in origins.filter(|(_, text)| *text != "*") {
            Origin::parse(text).map_err(|reason| item("cors.origins", index, reason))?;
        }
        let of_cookie = |reason| ConfigError::refused("browser.cookie", reason);
        self.browser.check().map_err(of_cookie)?;
        if self.browser.cookie().is_some() && self.cors.origins.iter().any(|text| text == "*") {
            return Err(of_cookie(
                "must not be set where cors.origins has *: every page could use the cookie. List the origins",
            ));
        }
        for (index, text) in self.hosts.iter().enumerate() {
            host(text).map_err(|reason| item("hosts", index, reason))?;
        }
        for (index, text) in self.proxy.trusted.iter().enumerate() {
            network(text).map_err(|reason| item("proxy.trusted", index, reason))?;
        }
        if !self.public_url.is_empty() {
            let refuse = |reason| ConfigError::refused("public_url", reason);
            let origin = Origin::parse(&self.public_url).map_err(refuse)?;
            if !origin.is_web() {
                return Err(refuse("is neither http nor https"));
            }
        }
        Ok(())
    }

    /// Lists the settings that another one bounds: name and value of each.
    fn pairs(&self) -> [(&str, u128, &str, u128); 9] {
        let (limits, socket, feed) = (&self.limits, &self.socket, &self.feed);
        let span = Duration::as_nanos;
        let size = |size: usize| size as u128;
        [
            (
                "limits.page_items_default",
                size(limits.page_items_default),
                "limits.page_items",
                size(limits.page_items),
            ),
            (
                "limits.body_bytes",
                size(limits.body_bytes),
                "an eighth of limits.reading_bytes",
                size(limits.reading_bytes / SHARES),
            ),
            (
                "limits.publish_body_bytes",
                size(limits.publish_body_bytes),
                "an eighth of limits.reading_bytes",
                size(limits.reading_bytes / SHARES),
            ),
            (
                "limits.page_bytes",
                size(limits.page_bytes),
                "an eighth of limits.answering_bytes",
                size(limits.answering_bytes / SHARES),
            ),
            (
                "limits.search_timeout",
                span(&limits.search_timeout),
                "limits.database_timeout",
                span(&limits.database_timeout),
            ),
            (
                "limits.away_after",
                span(&limits.away_after),
                "limits.database_timeout",
                span(&limits.database_timeout),
            ),
            (
                "socket.pong_timeout",
                span(&socket.pong_timeout),
                "socket.ping_interval",
                span(&socket.ping_interval),
            ),
            (
                "socket.outbox_bytes",
                size(socket.outbox_bytes),
                "limits.waiting_bytes",
                size(limits.waiting_bytes),
            ),
            (
                "feed.retry_min",
                span(&feed.retry_min),
                "feed.retry_max",
                span(&feed.retry_max),
            ),
        ]
    }
}

/// Returns the refusal of one item of a list, without quoting it.
fn item(setting: &str, index: usize, reason: &str) -> ConfigError {
    ConfigError::refused(setting, format!("item {} {reason}", index + 1))
}
