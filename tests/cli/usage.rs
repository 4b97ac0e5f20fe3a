//! Texts for people: help, wrong usage, bad configuration, no service.

use std::collections::BTreeSet;

use super::process::{finish, run, tidegate};

/// A reserved port on which nothing listens.
const NOBODY: &str = "http://127.0.0.1:1";

const COMMANDS: [&[&str]; 25] = [
    &[],
    &["dev"],
    &["serve"],
    &["migrate"],
    &["subscription"],
    &["subscription", "create"],
    &["subscription", "list"],
    &["subscription", "update"],
    &["subscription", "delete"],
    &["subscription", "explain"],
    &["policy"],
    &["policy", "set"],
    &["policy", "list"],
    &["policy", "get"],
    &["policy", "test"],
    &["policy", "delete"],
    &["publish"],
    &["listen"],
    &["doctor"],
    &["key", "create"],
    &["token"],
    &["token", "check"],
    &["token", "revoke"],
    &["whoami"],
    &["bench"],
];

#[test]
fn every_help_text_has_examples_and_fits_a_terminal() {
    for command in COMMANDS {
        let outcome = run(&[command, &["--help"]].concat());
        assert_eq!(outcome.code, Some(0), "{command:?}");
        let example = ["  tidegate", command.first().copied().unwrap_or("")].join(" ");
        assert!(outcome.stdout.contains("Examples:\n"), "{command:?}");
        assert!(
            outcome.stdout.contains(&example),
            "{command:?}: {}",
            outcome.stdout
        );
        for line in outcome.stdout.lines() {
            assert!(line.chars().count() <= 100, "{command:?}: {line}");
        }
    }
}

#[test]
fn the_guide_names_only_flags_that_exist() {
    let flags = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .filter(|word| word.starts_with("--") && !word.ends_with('-'))
            .map(str::to_owned)
            .collect()
    };
    let help: String = COMMANDS
        .iter()
        .map(|&command| run(&[command, &["--help"]].concat()).stdout)
        .collect();
    let documented = flags(include_str!("../../docs/cli.md"));
    let existing = flags(&help);
    assert!(documented.len() > 25, "the flags were not found");
    let unknown: Vec<_> = documented.difference(&existing).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    // Some flags are too plain for the guide.
    let silent: Vec<_> = existing
        .difference(&documented)
        .filter(|flag| *flag != "--version")
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--auth", "sometimes"],
        &["listen"],
        &["listen", ".."],
        &["listen", "a", "--count", "0"],
        &["listen", "a", "--server", "localhost:8080"],
        &["publish"],
        &["publish", "file", "--type", "t"],
        &["publish", "--type", "t", "--data", "{"],
        &["subscription"],
        &["subscription", "delete"],
        &["subscription", "create", "--filter", "[]"],
        &["subscription", "create", "--name", "n"],
        &[
            "subscription",
            "create",
            "--filter",
            "{}",
            "--status",
            "invalid",
        ],
        &["subscription", "update", "a"],
        &[
            "subscription",
            "update",
            "a",
            "--name",
            "n",
            "--unset",
            "name",
        ],
    ] {
        let outcome = run(arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{arguments:?}");
        assert_ne!(outcome.stderr, "", "{arguments:?}");
    }
}

#[test]
fn bad_configuration_exits_with_64_and_names_the_setting() {
    for (flags, variable, named) in [
        (&["--mongodb-uri", "localhost"][..], ("", ""), "mongodb_uri"),
        (&["--database", "a.b"], ("", ""), "database"),
        (&["--listen", "0.0.0.0:0"], ("", ""), "auth"),
        (&["--log", "a=b=c"], ("", ""), "log"),
        (
            &[],
            ("TIDEGATE_BROWSER__COOKIE", "tidegate"),
            "browser.cookie",
        ),
        (
            &[],
            ("TIDEGATE_TLS__CLIENT_CA", "ca.pem"),
            "tls.certificate",
        ),
        (
            &["--config", "/no/such/file.toml"],
            ("", ""),
            "/no/such/file.toml",
        ),
        (&[], ("TIDEGATE_LISTEN", "nowhere"), "listen"),
        (&[], ("TIDEGATE_AUTH", "sometimes"), "auth"),
        (
            &[],
            ("TIDEGATE_LIMITS__BODY_BYTES", "many"),
            "limits.body_bytes",
        ),
        (
            &[],
            ("TIDEGATE_SOCKET__PING_INTERVAL", "soon"),
            "socket.ping_interval",
        ),
        (&[], ("TIDEGATE_DATABSE", "x"), "databse"),
        (
            &[],
            ("TIDEGATE_CONFIG", "/no/such/file.toml"),
            "/no/such/file.toml",
        ),
    ] {
        for command in ["serve", "dev", "migrate"] {
            let mut process = tidegate(&[&[command], flags].concat());
            if !variable.0.is_empty() {
                process.env(variable.0, variable.1);
            }
            let outcome = finish(&mut process, "");
            let case = format!("{command} {flags:?} {variable:?}: {}", outcome.stderr);
            assert_eq!(outcome.code, Some(64), "{case}");
            assert!(outcome.stderr.contains(named), "{case}");
        }
    }
}

/// Every place where a connection string can end up by mistake, and its neighbours in the file.
#[test]
fn no_error_repeats_a_password() {
    const SECRET: &str = "hunter2xyz";
    let uri = format!("mongodb://admin:{SECRET}@h:1/");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("mongodb_uri = \"{uri}\n")).unwrap();
    let file = file.path().to_str().unwrap();
    for (arguments, variable) in [
        (&["serve", &uri][..], ("", "")),
        (&["serve", "--listen", &uri], ("", "")),
        (&["serve", "--auth", &uri], ("", "")),
        (&["migrate", "--database", &uri], ("", "")),
        (&["serve", "--config", file], ("", "")),
        (
            &["doctor", "--mongodb-uri", &format!("{uri}?tls={SECRET}")],
            ("", ""),
        ),
        (&["serve"], ("TIDEGATE_LISTEN", &uri)),
        (&["serve"], ("TIDEGATE_LIMITS__BODY_BYTES", &uri)),
        (&["listen", "a", "--server", &uri], ("", "")),
        (&["listen", "a"], ("TIDEGATE_SERVER", &uri)),
    ] {
        let mut process = tidegate(arguments);
        if !variable.0.is_empty() {
            process.env(variable.0, variable.1);
        }
        let outcome = finish(&mut process, "");
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(
            matches!(outcome.code, Some(2 | 64)),
            "{arguments:?}: {said}"
        );
        assert!(!said.contains(SECRET), "{arguments:?} {variable:?}: {said}");
        assert_ne!(outcome.stderr, "", "{arguments:?}");
    }
}

#[test]
fn an_absent_database_exits_with_69_and_one_line() {
    for command in [
        &["serve", "--listen", "127.0.0.1:0"][..],
        &["migrate"],
        &["migrate", "--list"],
    ] {
        let mut process = tidegate(&[command, &["--log", "off"]].concat());
        process
            .env(
                "TIDEGATE_MONGODB_URI",
                "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300",
            )
            .env("TIDEGATE_STARTUP_TIMEOUT", "1s");
        let outcome = finish(&mut process, "");
        assert_eq!(outcome.code, Some(69), "{command:?}: {}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        assert!(outcome.stderr.contains("127.0.0.1:1"), "{}", outcome.stderr);
    }
}

#[test]
fn a_start_says_once_what_it_waits_for() {
    let mut process = tidegate(&["serve", "--listen", "127.0.0.1:0", "--log", "tidegate=warn"]);
    process
        .env("TIDEGATE_MONGODB_URI", "mongodb://u:secret@127.0.0.1:1/")
        .env("TIDEGATE_STARTUP_TIMEOUT", "3s");
    let outcome = finish(&mut process, "");
    assert_eq!(outcome.code, Some(69), "{}", outcome.stderr);
    let waiting: Vec<_> = outcome.stderr.lines().collect();
    let [told, given_up] = waiting[..] else {
        panic!("{}", outcome.stderr);
    };
    assert!(told.contains("waiting for the database"), "{told}");
    assert!(told.contains("gives_up_in"), "{told}");
    for line in [told, given_up] {
        assert!(line.contains("127.0.0.1:1: Connection refused"), "{line}");
        assert!(
            !line.contains("secret") && !line.contains("Topology"),
            "{line}"
        );
    }
}

#[test]
fn a_taken_port_is_named_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for command in ["serve", "dev"] {
        let outcome = run(&[command, "--listen", &address]);
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(&address), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("in use"), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("--listen"), "{}", outcome.stderr);
    }
}

#[test]
fn a_service_that_is_not_there_is_said_so_with_1() {
    for arguments in [
        &["listen", "a"][..],
        &["publish", "--type", "t", "--retries", "0"],
        &["subscription", "list"],
        &["subscription", "delete", "a"],
    ] {
        let mut process = tidegate(arguments);
        let outcome = finish(process.env("TIDEGATE_SERVER", NOBODY), "");
        assert_eq!(outcome.code, Some(1), "{arguments:?}");
        assert!(outcome.stderr.contains(NOBODY), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("--server"), "{}", outcome.stderr);
        assert!(
            !outcome.stderr.contains('\u{1b}'),
            "colours without a terminal"
        );
    }
}
