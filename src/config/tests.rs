use std::io::Write as _;

use super::*;

/// Stands for a password, wherever a value can be.
const SECRET: &str = "hunter2xyz";

fn load(toml: &str, flags: &[(&str, String)]) -> Result<Config, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    Config::load(Some(file.path()), flags)
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
        ("database = \"a\\n\"", "database"),
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

/// Wherever a secret can get to in a file, or in the text of a variable or a flag.
#[test]
fn no_message_quotes_a_value() {
    for setting in SETTINGS {
        for value in [
            format!("\"mongodb://admin:{SECRET}@db/?ssl"),
            format!("\"{SECRET}\\u0007\""),
            format!("'{SECRET}"),
            format!("[\"{SECRET}\\n\"]"),
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
    ] {
        let uri = uri.replace("SECRET", SECRET);
        let given = load("", &[("mongodb_uri", uri.clone())]);
        if let Err(error) = given {
            let error = error.to_string().to_lowercase();
            assert!(!error.contains(SECRET), "{uri}: {error}");
            assert!(error.starts_with("mongodb_uri: "), "{uri}: {error}");
        }
    }
    let named = refusal("mongodb_uri = \"mongodb://h/?frobnicate=1\"");
    assert!(named.contains("frobnicate"), "a name is no value: {named}");
}
