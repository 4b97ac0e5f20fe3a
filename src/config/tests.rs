use std::io::Write as _;

use super::*;

/// Stands for a password, wherever a value can be.
const SECRET: &str = "hunter2xyz";

fn load(toml: &str, flags: &[(&str, String)]) -> Result<Config, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    Config::load(Some(file.path()), flags).map(|loaded| loaded.config)
}

/// A connection string as a flag: what is made of it.
fn given(uri: &str) -> Result<Loaded, ConfigError> {
    let flags = [("mongodb_uri", uri.to_owned())];
    Config::load(None, &flags)
}

fn refusal(toml: &str) -> String {
    let error = load(toml, &[]).expect_err(toml).to_string();
    assert!(!error.contains(SECRET), "{toml}: {error}");
    error
}

/// The line of a file that sets this, in its section.
fn line(name: &str, value: &str) -> String {
    match name.split_once('.') {
        None => format!("{name} = {value}"),
        Some((section, inner)) => format!("[{section}]\n{inner} = {value}"),
    }
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let config = load(
        "database = \"one\"\nlisten = \"127.0.0.1:1\"\n[socket]\nping_interval = \"17s\"\n",
        &[("database", "two".to_owned())],
    )
    .unwrap();
    assert_eq!(config.database, "two");
    assert_eq!(config.listen.port(), 1);
    assert_eq!(config.socket.ping_interval, Duration::from_secs(17));
    assert_eq!(config.limits.batch_items, 1_000);
}

#[test]
fn text_from_outside_is_read_as_its_setting_says() {
    let flags = [
        ("database", "007".to_owned()),
        ("limits.batch_items", "12".to_owned()),
        ("insecure", "yes".to_owned()),
        (
            "cors.origins",
            "https://a.example, https://b.example".to_owned(),
        ),
    ];
    let config = load("", &flags).unwrap();
    assert_eq!(config.database, "007", "no number");
    assert_eq!(config.limits.batch_items, 12);
    assert!(config.insecure);
    assert_eq!(
        config.cors.origins,
        ["https://a.example", "https://b.example"]
    );
}

#[test]
fn names_that_can_never_match_are_refused() {
    for (toml, reason) in [
        (
            "[cors]\norigins = [\"*\", \"a.example\"]",
            "item 2 has no scheme",
        ),
        (
            "[cors]\norigins = [\"https://a.example/app\"]",
            "item 1 has more",
        ),
        ("[cors]\norigins = [\"https://*.example\"]", "wildcard"),
        ("[cors]\norigins = [\"null\"]", "sandboxed"),
        ("[cors]\norigins = [\"file://\"]", "sandboxed"),
        ("[cors]\norigins = [\"\"]", "no scheme"),
        (
            "hosts = [\"a.example\", \"b.example:80\"]",
            "item 2 is not a name",
        ),
        ("hosts = [\"https://a.example\"]", "is not a name"),
        ("hosts = [\"*\"]", "wildcard"),
        ("public_url = \"a.example\"", "no scheme"),
        ("public_url = \"https://a.example/app\"", "more than"),
        ("public_url = \"app://a.example\"", "neither http nor https"),
    ] {
        let refused = refusal(toml);
        assert!(refused.contains(reason), "{toml}: {refused}");
    }
    let config = load(
        "hosts = [\"A.example.\", \"::1\", \"10.1.2.3\"]\npublic_url = \"https://a.example/\"\n\
         [cors]\norigins = [\"HTTPS://A.example:443/\", \"capacitor://localhost\", \"*\"]",
        &[],
    );
    assert!(config.unwrap().public_origin().is_some());
}

#[test]
fn what_is_wrong_is_named() {
    for (toml, named) in [
        ("databse = \"x\"", "databse"),
        ("[socket]\npng = \"1s\"", "socket.png"),
        ("socket = 5", "socket"),
        ("database.name = \"x\"", "database.name"),
        ("database = \"a/b\"", "database"),
        ("database = \"Admin\"", "database"),
        ("database = \"local\"", "database"),
        ("database = \"config\"", "database"),
        ("database = \"a\\nb\"", "database"),
        ("database = \"a\\u200b\"", "database"),
        ("database = \"a\\u00a0b\"", "database"),
        ("listen = \"0.0.0.0:8080\"", "auth"),
        ("mongodb_uri = \"localhost\"", "mongodb_uri"),
        ("a = 1\nb = [", "line 2"),
    ] {
        let error = refusal(toml);
        assert!(error.contains(named), "{toml}: {error}");
    }
    assert!(load("listen = \"0.0.0.0:8080\"\ninsecure = true", &[]).is_ok());
}

#[test]
fn keys_do_not_travel_in_the_clear_unless_somebody_says_so() {
    const TLS: &str = "[tls]\ncertificate = \"c\"\nkey = \"k\"";
    const PROXY: &str = "[proxy]\ntrusted = [\"10.0.0.0/8\"]";
    for (auth, listen, more, needs) in [
        ("none", "127.0.0.1:1", "", false),
        ("required", "[::1]:1", "", false),
        ("none", "0.0.0.0:1", "", true),
        ("none", "0.0.0.0:1", TLS, true),
        ("none", "0.0.0.0:1", PROXY, true),
        ("required", "0.0.0.0:1", "", true),
        ("required", "0.0.0.0:1", TLS, false),
        ("required", "[::]:1", PROXY, false),
    ] {
        let lines = format!("auth = \"{auth}\"\nlisten = \"{listen}\"");
        let loaded = load(&format!("{lines}\n{more}"), &[]);
        assert_eq!(loaded.is_err(), needs, "{lines} {more}");
        let allowed = load(&format!("{lines}\ninsecure = true\n{more}"), &[]);
        assert_eq!(allowed.unwrap().needs_insecure(), needs, "{lines} {more}");
    }
    for (one, other) in [("certificate", "key"), ("key", "certificate")] {
        let refused = refusal(&format!("[tls]\n{one} = \"a\""));
        assert!(refused.starts_with(&format!("tls.{other}: ")), "{refused}");
    }
    for (network, reason) in [("0.0.0.0/0", "every address"), ("x", "neither a network")] {
        let refused = refusal(&format!("[proxy]\ntrusted = [\"{network}\"]"));
        assert!(refused.contains(reason), "{refused}");
    }
}

#[test]
fn a_value_of_another_type_or_out_of_range_is_refused_with_the_range() {
    for setting in SETTINGS {
        let wrong = match setting.kind {
            Kind::Number(from, to) => vec![
                (to + 1).to_string(),
                (i128::from(from) - 1).to_string(),
                i64::MIN.to_string(),
                "18446744073709551616".to_owned(),
                "1.5".to_owned(),
                "true".to_owned(),
                "\"5\"".to_owned(),
            ],
            Kind::Span(from, to) => {
                let (less, more) = (from.as_millis().checked_sub(1), to.as_millis() + 1);
                let mut wrong = vec!["5".to_owned(), "\"soon\"".to_owned()];
                wrong.push("\"9999999999999999999years\"".to_owned());
                wrong.push(format!("\"{more}ms\""));
                wrong.extend(less.map(|less| format!("\"{less}ms\"")));
                wrong
            }
            _ => continue,
        };
        for value in wrong {
            let error = refusal(&line(setting.name, &value));
            let range = setting.kind.to_string();
            // A file has no numbers beyond 64 bits: the line is named.
            let named = error.contains(setting.name) && error.contains(&range);
            assert!(named || error.contains("line 2 is not TOML"), "{error}");
        }
    }
}

#[test]
fn settings_that_bound_each_other_are_refused_together() {
    for (setting, value, bound) in [
        ("limits.page_items_default", "1001", "limits.page_items"),
        ("limits.body_bytes", "33554433", "limits.reading_bytes"),
        (
            "limits.publish_body_bytes",
            "33554433",
            "limits.reading_bytes",
        ),
        ("limits.page_bytes", "33554433", "limits.answering_bytes"),
        (
            "limits.search_timeout",
            "\"11s\"",
            "limits.database_timeout",
        ),
        ("limits.away_after", "\"11s\"", "limits.database_timeout"),
        ("socket.pong_timeout", "\"31s\"", "socket.ping_interval"),
        ("socket.outbox_bytes", "268435457", "limits.waiting_bytes"),
        ("feed.retry_min", "\"6s\"", "feed.retry_max"),
    ] {
        let error = refusal(&line(setting, value));
        assert!(error.contains(setting) && error.contains(bound), "{error}");
    }
}

#[test]
fn a_cookie_has_a_name_that_browsers_guard_and_is_for_no_page_of_every_origin() {
    let cookie = |name: &str| format!("[browser]\ncookie = \"{name}\"\n");
    for name in ["", "__Host-tidegate", "__Secure-t", "__Host-a.b_c-1"] {
        let toml = format!("{}[cors]\norigins = [\"https://a.example\"]", cookie(name));
        let config = load(&toml, &[]).unwrap();
        assert_eq!(config.browser.cookie(), (!name.is_empty()).then_some(name));
    }
    for (name, reason) in [
        ("tidegate", "must begin with __Host- or __Secure-"),
        ("__host-tidegate", "must begin with __Host- or __Secure-"),
        ("__HOST-tidegate", "must begin with __Host- or __Secure-"),
        ("__Http-tidegate", "must begin with __Host- or __Secure-"),
        ("x__Host-tidegate", "must begin with __Host- or __Secure-"),
        ("__Host-", "behind the prefix"),
        ("__Host-a=b", "behind the prefix"),
        ("__Host-a;b", "behind the prefix"),
        ("__Host-a b", "behind the prefix"),
        ("__Host-\u{e4}", "behind the prefix"),
    ] {
        let refused = refusal(&cookie(name));
        assert!(refused.starts_with("browser.cookie: "), "{name}: {refused}");
        assert!(refused.contains(reason), "{name}: {refused}");
    }
    let every = "[cors]\norigins = [\"https://a.example\", \"*\"]";
    assert!(load(every, &[]).is_ok());
    let refused = refusal(&format!("{}{every}", cookie("__Host-tidegate")));
    assert!(refused.starts_with("browser.cookie: must not be set where cors.origins has *"));
}

#[test]
fn clients_are_asked_for_certificates_over_tls_alone() {
    let refused = refusal("[tls]\nclient_ca = \"a.pem\"");
    assert_eq!(refused, "tls.certificate: is needed beside tls.client_ca");
    let files = "[tls]\ncertificate = \"c\"\nkey = \"k\"\nclient_ca = \"a\"";
    assert!(load(files, &[]).is_ok());
}

/// Wherever a secret can get to in a file, or in the text of a variable or a flag.
#[test]
fn no_message_quotes_a_value() {
    for setting in SETTINGS {
        for value in [
            format!("\"mongodb://admin:{SECRET}@db/?ssl"),
            format!("\"{SECRET}\\u0007\""),
            format!("'{SECRET}"),
            format!("[\"{SECRET}\\nx\"]"),
            format!("{{\"{SECRET} \" = 1}}"),
            format!("\"{SECRET}\" {SECRET}"),
            SECRET.to_owned(),
        ] {
            refusal(&line(setting.name, &value));
        }
        let text = format!("{SECRET}\u{7}");
        let error = load("", &[(setting.name, text)]).unwrap_err().to_string();
        assert!(!error.contains(SECRET), "{error}");
    }
    for toml in [
        format!("\"mongodb://u:{SECRET}@h\" = 1"),
        format!("mongodb_uri = \"a\"\nmongodb_uri = \"{SECRET}\""),
        format!("[\"{SECRET} \"]\na = 1"),
        format!("mongodb_uri \"{SECRET}\""),
    ] {
        refusal(&toml);
    }
}

#[test]
fn no_message_quotes_a_connection_string() {
    for uri in [
        "SECRET",
        "http://SECRET/",
        "mongodb://SECRET:SECRET",
        "mongodb://u:p@SECRET:99999/",
        "mongodb://u:p@SECRET@h/",
        "mongodb://u:p/SECRET@h/",
        "mongodb://u:%zzSECRET@h/",
        "mongodb://u:SECRET%@h/",
        "mongodb://h:SECRET/",
        "mongodb://u:p?SECRET=1@h/",
        "mongodb://h/?readPreference=SECRET",
        "mongodb://h/?authMechanism=SECRET",
        "mongodb://h/?w=1&w=SECRET",
        "mongodb://h/?compressors=SECRET",
        "mongodb://h/?uuidRepresentation=SECRET",
        "mongodb://h/?authMechanismProperties=SECRET",
        "mongodb://h/?readPreferenceTags=SECRET",
        "mongodb://h/?maxPoolSize=SECRET",
        "mongodb://h/?tls=SECRET",
        "mongodb://h/?proxyHost=a&proxyPort=SECRET",
        "mongodb+srv://SECRET:1/",
        "mongodb://u?SECRET=1@h/",
        "mongodb://u:p?a=b&SECRET=1@h/",
        "mongodb://u:p?tlsSECRET=1@h/",
        "mongodb://u:p?authSECRET=1@h/?w=1",
        "mongodb://h/?tlsCAFile=/SECRET",
        "mongodb://h/?SECRET",
        "mongodb://h/?loadBalanced=true&appName=SECRET",
    ] {
        let uri = uri.replace("SECRET", SECRET);
        let given = load("", &[("mongodb_uri", uri.clone())]);
        if let Err(error) = given {
            let error = error.to_string().to_lowercase();
            assert!(!error.contains(SECRET), "{uri}: {error}");
            assert!(error.starts_with("mongodb_uri: "), "{uri}: {error}");
        }
    }
    // A password with @ and ? in it: what stands before the @ is no host, and nothing names it.
    for uri in [
        "mongodb://u:p@SECRET?timeoutms=4@h/",
        "mongodb://u:p@SECRET?w=1&socketTimeoutMS=4@h/",
    ] {
        let error = given(&uri.replace("SECRET", SECRET)).unwrap_err();
        assert!(error.to_string().contains("%3F"), "{uri}: {error}");
    }
    let named = given("mongodb://h/?frobnicate=1").unwrap().ignored;
    assert_eq!(named, ["frobnicate"], "a name is no value");
}

#[test]
fn space_at_the_ends_of_a_value_is_none_of_it() {
    let config = load(
        "database = \" shop\\r\\n\"\nadopt = [\"events \"]\nretention = \" 5d\\n\"",
        &[],
    )
    .unwrap();
    assert_eq!(
        (&*config.database, &config.adopt[..]),
        ("shop", &["events".to_owned()][..])
    );
    assert_eq!(config.retention, Duration::from_hours(5 * 24));
    let config = load("\u{feff}database = \"shop\"", &[]).unwrap();
    assert_eq!(config.database, "shop", "behind a mark of the encoding");
    for text in ["shop\n", "\tshop ", "\u{a0}shop"] {
        let config = load("", &[("database", text.to_owned())]).unwrap();
        assert_eq!(config.database, "shop");
    }
    let loaded = given(" mongodb://db/shop?replicaSet=rs0\n").unwrap();
    assert_eq!(
        loaded.config.mongodb_uri,
        "mongodb://db/shop?replicaSet=rs0"
    );
    for unseen in ['\n', '\u{7f}', '\u{200b}', '\u{feff}', '\u{202e}', '\u{ad}'] {
        load("", &[("database", format!("sh{unseen}op"))]).unwrap_err();
        load("", &[("mongodb_uri", format!("mongodb://db/{unseen}op"))]).unwrap_err();
    }
}

#[test]
fn the_database_in_the_path_is_used_where_no_other_is_named() {
    let database = |uri: &str| given(uri).unwrap().config.database;
    assert_eq!(database("mongodb://db"), "tidegate");
    assert_eq!(database("mongodb://db/"), "tidegate");
    assert_eq!(database("mongodb://u:p@db/shop?authSource=admin"), "shop");
    assert_eq!(
        database("mongodb+srv://u:p@db.example.net/sh%6Fp?w=majority"),
        "shop"
    );
    // It says where the user is.
    assert_eq!(
        database("mongodb://u:p@db/admin?replicaSet=rs0"),
        "tidegate"
    );
    let flags = |database: &str| {
        [
            ("mongodb_uri", "mongodb://db/shop".to_owned()),
            ("database", database.to_owned()),
        ]
    };
    assert_eq!(load("", &flags("other")).unwrap().database, "other");
    assert_eq!(load("", &flags("tidegate")).unwrap().database, "tidegate");
    let file = "database = \"other\"\nmongodb_uri = \"mongodb://db/shop\"";
    assert_eq!(load(file, &[]).unwrap().database, "other");
}

/// As other drivers, their shells and hosted databases write them.
#[test]
fn connection_strings_of_other_programs_are_taken() {
    for (uri, ignored) in [
        (
            "mongodb+srv://u:p@c.a1b2.mongodb.net/?retryWrites=true&w=majority&appName=Cluster0",
            "",
        ),
        (
            "mongodb://h/?directConnection=true&serverSelectionTimeoutMS=2000&appName=mongosh+2.3.1",
            "",
        ),
        (
            "mongodb://h/?compressors=zlib,snappy&zlibCompressionLevel=6",
            "",
        ),
        ("mongodb://h/?compressors=zstd", "compressors"),
        (
            "mongodb://h/?compressors=zstd,snappy",
            "compressors, in part",
        ),
        (
            "mongodb://h/?useUnifiedTopology=true&useNewUrlParser=true",
            "useUnifiedTopology useNewUrlParser",
        ),
        (
            "mongodb://h/?uuidRepresentation=standard",
            "uuidRepresentation",
        ),
        (
            "mongodb://h/?uuidRepresentation=javaLegacy",
            "uuidRepresentation",
        ),
        (
            "mongodb://h/?socketTimeoutMS=30000&timeoutMS=5",
            "socketTimeoutMS timeoutMS",
        ),
        (
            "mongodb://h/?waitQueueMultiple=5&wtimeout=1&j=true",
            "waitQueueMultiple wtimeout j",
        ),
        ("mongodb://h/?loadBalanced=false", ""),
        ("mongodb://h/?replicaSet=&appName=", "replicaSet appName"),
        ("mongodb://h/?&w=majority&", ""),
        ("mongodb://h/?authMechanism=DEFAULT", "authMechanism"),
        (
            "mongodb://h/?tlsAllowInvalidHostnames=false",
            "tlsAllowInvalidHostnames",
        ),
        (
            "mongodb://a:k==@h:10255/?ssl=true&replicaSet=globaldb&retrywrites=false&appName=@a@",
            "",
        ),
    ] {
        let loaded = given(uri).unwrap_or_else(|error| panic!("{uri}: {error}"));
        assert_eq!(loaded.ignored.join(" "), ignored, "{uri}");
    }
}

#[test]
fn what_a_connection_string_asks_for_in_vain_is_refused_with_the_reason() {
    let long = format!("appName={}", "x".repeat(129));
    for (options, told) in [
        ("loadBalanced=true", "replica set"),
        (&*long, "128 bytes"),
        ("tlsAllowInvalidHostnames=true", "certificates"),
        ("tlsCertificateKeyFilePassword=x", "encrypted"),
        ("tlsCRLFile=x", "tlsCRLFile is not supported"),
        ("authMechanism=MONGODB-AWS", "SCRAM-SHA-256"),
        ("authMechanism=GSSAPI", "SCRAM-SHA-256"),
        ("proxyHost=x", "proxies"),
        (
            "replicaSett=rs0",
            "there is no option replicaSett; is replicaSet meant?",
        ),
        (
            "maxPoolSizee=5",
            "there is no option maxPoolSizee; is maxPoolSize meant?",
        ),
        ("serverSelectionTimeoutMs=x", "serverSelectionTimeoutMS"),
        (
            "tlsCAFile=/no/such/file",
            "tlsCAFile names cannot be read: No such file",
        ),
        ("tlsCAFile=/dev/null", "no certificate"),
        ("tlsCertificateKeyFile=/dev/null", "no certificate"),
        ("ssl", "NAME=VALUE"),
        ("maxPoolSize=0", "maxPoolSize"),
        ("heartbeatFrequencyMS=1", "heartbeat"),
    ] {
        let error = given(&format!("mongodb://h/?{options}"))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("mongodb_uri: "), "{options}: {error}");
        assert!(
            error.to_lowercase().contains(&told.to_lowercase()),
            "{options}: {error}"
        );
    }
    for uri in [
        "\"mongodb://h\"",
        "h:27017",
        "https://h",
        "mongodb://a,b/?directConnection=true",
    ] {
        given(uri).unwrap_err();
    }
}
