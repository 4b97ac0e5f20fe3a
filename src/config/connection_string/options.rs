//! The options of a connection string, judged one by one.

use mongodb::options::ConnectionString;
use percent_encoding::percent_decode_str;

use super::files;

/// The fate of an option.
pub(super) enum Verdict {
    /// The driver takes it.
    Keep,
    /// The driver takes it with this value.
    Change(String),
    /// It has no effect here and is left out.
    Ignore,
    /// No known program has it. It is left out.
    Unknown,
    /// Without it, the connection would not be the one asked for. The reason says so.
    Refuse(String),
    /// The same of an option that no known program has. The reason says its name.
    Strange(String),
}

/// Options of other drivers that can be left out without loss (in lower case).
const WITHOUT_EFFECT: [&str; 43] = [
    // The driver has no such timeout; the service's own limits hold.
    "sockettimeoutms",
    "timeoutms",
    "wtimeout",
    "waitqueuemultiple",
    "waitqueuesize",
    "maxconnectionlifetimems",
    "maxlifetimems",
    "maxconnectionidletime",
    "maxconnectionlifetime",
    "serverselectiontrycount",
    "serverselectiontryonce",
    "socketcheckintervalms",
    "heartbeatconnecttimeoutms",
    // This service stores no UUIDs.
    "uuidrepresentation",
    "guids",
    "datetime_conversion",
    "document_class",
    "tz_aware",
    "tzaware",
    "unicode_decode_error_handler",
    "type_registry",
    "ignoreundefined",
    "serializefunctions",
    "promotevalues",
    // Internals of a driver.
    "connect",
    "ipv6",
    "family",
    "keepalive",
    "keepaliveinitialdelay",
    "nodelay",
    "poolsize",
    "autoreconnect",
    "reconnecttries",
    "reconnectinterval",
    "monitorcommands",
    "useunifiedtopology",
    "usenewurlparser",
    "usecreateindex",
    "usefindandmodify",
    "streamtype",
    "forceserverobjectid",
    // With rustls no driver checks revocations: there is nothing to switch off.
    "tlsdisableocspendpointcheck",
    "tlsdisablecertificaterevocationcheck",
];

/// The driver's options that have capital letters.
const SPELLED: [&str; 36] = [
    "appName",
    "authMechanism",
    "authSource",
    "authMechanismProperties",
    "connectTimeoutMS",
    "directConnection",
    "heartbeatFrequencyMS",
    "loadBalanced",
    "localThresholdMS",
    "maxIdleTimeMS",
    "maxStalenessSeconds",
    "maxPoolSize",
    "minPoolSize",
    "maxConnecting",
    "proxyHost",
    "proxyPort",
    "proxyUsername",
    "proxyPassword",
    "readConcernLevel",
    "readPreference",
    "readPreferenceTags",
    "replicaSet",
    "retryWrites",
    "retryReads",
    "serverMonitoringMode",
    "serverSelectionTimeoutMS",
    "socketTimeoutMS",
    "tlsInsecure",
    "tlsAllowInvalidCertificates",
    "tlsCAFile",
    "tlsCertificateKeyFile",
    "uuidRepresentation",
    "waitQueueTimeoutMS",
    "wTimeoutMS",
    "zlibCompressionLevel",
    "srvServiceName",
];

/// Authentication mechanisms that the driver supports here.
const MECHANISMS: [&str; 4] = ["SCRAM-SHA-256", "SCRAM-SHA-1", "MONGODB-X509", "PLAIN"];
const COMPRESSORS: [&str; 2] = ["snappy", "zlib"];
/// Bytes of `appName` that servers accept in a handshake.
const APP_NAME_BYTES: usize = 128;
/// The least `heartbeatFrequencyMS`, which all drivers share.
const LEAST_HEARTBEAT_MS: u64 = 500;
/// Options that begin like this concern the peer: without one, the connection would be another one.
const GUARDED: [&str; 6] = ["tls", "ssl", "auth", "proxy", "srv", "gssapi"];

/// Judges an option as it stands in the string.
pub(super) fn judge(name: &str, value: &str) -> Verdict {
    let lower = name.to_ascii_lowercase();
    let decoded = percent_decode_str(value).decode_utf8_lossy();
    let value = decoded.as_ref();
    let refuse = |reason: &str| Verdict::Refuse(reason.to_owned());
    match lower.as_str() {
        "compressors" => compressors(value),
        "loadbalanced" if value == "true" => refuse(
            "loadBalanced=true is for sharded clusters, and this service needs a replica set",
        ),
        "appname" if value.len() > APP_NAME_BYTES => refuse("appName may have at most 128 bytes"),
        "maxpoolsize" if value == "0" => refuse("maxPoolSize must be 1 or more"),
        "heartbeatfrequencyms" if value.parse().is_ok_and(|ms: u64| ms < LEAST_HEARTBEAT_MS) => {
            refuse("heartbeatFrequencyMS must be 500 or more")
        }
        "authmechanism" if value == "DEFAULT" => Verdict::Ignore,
        "authmechanism" if !MECHANISMS.contains(&value) => Verdict::Refuse(format!(
            "authMechanism must be one of {}",
            MECHANISMS.join(", ")
        )),
        "tlsallowinvalidhostnames" | "sslinvalidhostnameallowed" if value == "false" => {
            Verdict::Ignore
        }
        "tlsallowinvalidhostnames" | "sslinvalidhostnameallowed" => {
            refuse("tlsAllowInvalidHostnames is not supported: certificates must name their host")
        }
        "tlscertificatekeyfilepassword" => refuse(
            "tlsCertificateKeyFilePassword is not supported: the key file must not be encrypted",
        ),
        "proxyhost" | "proxyport" | "proxyusername" | "proxypassword" => {
            refuse("proxies (proxyHost) are not supported")
        }
        "tlscafile" => file("tlsCAFile", files::authorities(value)),
        "tlscertificatekeyfile" => file("tlsCertificateKeyFile", files::identity(value)),
        "replicaset" | "appname" if value.is_empty() => Verdict::Ignore,
        lower if WITHOUT_EFFECT.contains(&lower) => Verdict::Ignore,
        _ => known(name),
    }
}

/// Judges an option by whether the driver knows its name.
fn known(name: &str) -> Verdict {
    let Err(error) = ConnectionString::parse(format!("mongodb://h/?{name}=")) else {
        return Verdict::Keep;
    };
    let said = error.kind.to_string();
    if !said.contains("is an invalid option") {
        return Verdict::Keep;
    }
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Verdict::Refuse("an option in it has a name that is not allowed".to_owned());
    }
    let lower = name.to_ascii_lowercase();
    if GUARDED.iter().any(|begin| lower.starts_with(begin)) {
        return Verdict::Strange(format!("{name} is not supported"));
    }
    match said.rsplit_once("similar name exists: ") {
        Some((_, similar)) => Verdict::Strange(format!(
            "there is no option {name}; is {} meant?",
            spelled(similar)
        )),
        None => Verdict::Unknown,
    }
}

/// Returns the option as the MongoDB manual spells it; the driver has it in lower case.
fn spelled(option: &str) -> &str {
    let same = |name: &&&str| name.eq_ignore_ascii_case(option);
    SPELLED.iter().find(same).copied().unwrap_or(option)
}

/// Keeps the compressors that the driver supports here. A server that has none of them does
/// without.
fn compressors(value: &str) -> Verdict {
    let wanted: Vec<_> = value.split(',').map(str::trim).collect();
    let spoken = |name: &&str| COMPRESSORS.contains(&name.to_ascii_lowercase().as_str());
    let kept: Vec<_> = wanted.iter().copied().filter(spoken).collect();
    match kept.len() {
        0 => Verdict::Ignore,
        count if count == wanted.len() => Verdict::Keep,
        _ => Verdict::Change(kept.join(",")),
    }
}

fn file(option: &str, checked: Result<(), String>) -> Verdict {
    match checked {
        Ok(()) => Verdict::Keep,
        Err(reason) => Verdict::Refuse(format!("the file that {option} names {reason}")),
    }
}
