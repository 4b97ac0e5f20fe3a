//! The options of a connection string, one by one.

use mongodb::options::ConnectionString;
use percent_encoding::percent_decode_str;

use super::files;

/// What becomes of an option.
pub(super) enum Verdict {
    /// The driver takes it.
    Keep,
    /// The driver takes it with this value.
    Change(String),
    /// It has no effect here, and can be left out.
    Ignore,
    /// No program is known to have it. It can be left out.
    Unknown,
    /// Without it, the connection would not be what is asked for.
    Refuse(String),
    /// The same of one that no program is known to have: the reason says its name.
    Strange(String),
}

/// Options of other drivers that ask for nothing which is lost here (in lower case).
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
    // No value of this service is a UUID.
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
    // How a driver works inside.
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
    // No driver of rustls asks for revocations: there is nothing to switch off.
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

/// Values by which the mechanisms are named that are spoken here.
const MECHANISMS: [&str; 4] = ["SCRAM-SHA-256", "SCRAM-SHA-1", "MONGODB-X509", "PLAIN"];
const COMPRESSORS: [&str; 2] = ["snappy", "zlib"];
/// Bytes of `appName` that servers take in a handshake.
const APP_NAME_BYTES: usize = 128;
/// As every driver has it.
const LEAST_HEARTBEAT_MS: u64 = 500;
/// What begins like this is about who is talked to: left out, the connection would be another one.
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
            "loadBalanced=true is for the routers of sharded clusters, and this service needs a replica set",
        ),
        "appname" if value.len() > APP_NAME_BYTES => refuse("appName may have 128 bytes at most"),
        "maxpoolsize" if value == "0" => refuse("maxPoolSize must be 1 or more"),
        "heartbeatfrequencyms" if value.parse().is_ok_and(|ms: u64| ms < LEAST_HEARTBEAT_MS) => {
            refuse("heartbeatFrequencyMS must be 500 or more")
        }
        "authmechanism" if value == "DEFAULT" => Verdict::Ignore,
        "authmechanism" if !MECHANISMS.contains(&value) => Verdict::Refuse(format!(
            "authMechanism must be one of {}: no other is supported",
            MECHANISMS.join(", ")
        )),
        "tlsallowinvalidhostnames" | "sslinvalidhostnameallowed" if value == "false" => {
            Verdict::Ignore
        }
        "tlsallowinvalidhostnames" | "sslinvalidhostnameallowed" => refuse(
            "tlsAllowInvalidHostnames is not supported: certificates must have the name of their host",
        ),
        "tlscertificatekeyfilepassword" => refuse(
            "tlsCertificateKeyFilePassword is not supported: the key's file must not be encrypted",
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

/// Whether the driver knows an option of this name, by its own word.
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
        return Verdict::Refuse("an option in it has no legal name".to_owned());
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

/// An option as the MongoDB manual spells it; the driver has it in lower case.
fn spelled(option: &str) -> &str {
    let same = |name: &&&str| name.eq_ignore_ascii_case(option);
    SPELLED.iter().find(same).copied().unwrap_or(option)
}

/// The compressors that are spoken here; a server that has none of them does without.
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
