//! `token`: which check refuses one, and taking them away.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use bson::{Document, doc};
use data_encoding::BASE64URL_NOPAD;
use mongodb::Client;
use serde_json::{Value, json};

use super::{
    process::{Outcome, finish, tidegate},
    support::{database_name, shared_mongod},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ISSUER: &str = "https://id.example.com/";

/// Signs claims of a token that is valid for an hour, with changes.
fn token(change: &Value) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let mut claims = json!({
        "iss": ISSUER, "aud": "feed", "sub": "42", "exp": now + 3600, "tenant": "acme",
        "scope": "events:read keys:write",
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let header = json!({"alg": "HS256", "typ": "at+jwt"});
    let message = format!("{}.{}", part(&header), part(&claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = ring::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
}

/// A folder with a configuration that trusts one issuer.
fn configured() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    let config = format!(
        "[issuers.main]\nissuer = \"{ISSUER}\"\naudience = [\"feed\"]\nsecret_file = \"{}\"\n\
         algorithms = [\"HS256\"]\ntenant_claim = \"tenant\"\nscopes = [\"events:read\"]\n",
        secret.display()
    );
    let file = folder.path().join("tidegate.toml");
    fs::write(&file, config).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (folder, file)
}

fn check(config: &str, token: &str, more: &[&str]) -> Outcome {
    let mut command = tidegate(&["token", "check", "--config", config]);
    finish(command.args(more), token)
}

#[test]
fn a_check_says_which_one_refuses_a_token_and_what_it_gives_else() {
    let (folder, config) = configured();
    let good = token(&json!({}));
    let mut forged = good.clone();
    forged.truncate(good.len() - 3);
    forged.push_str("AAA");
    let headless = format!("e30{}", &good[good.find('.').unwrap()..]);
    for (text, letter, told) in [
        ("a.b", 'a', "three parts"),
        (&headless, 'b', "names no algorithm"),
        (
            &token(&json!({"iss": "https://evil.example/"})),
            'c',
            "not that of a configured issuer",
        ),
        (&forged, 'e', "not by a key"),
        (&token(&json!({"exp": 5})), 'f', "has expired (exp)"),
        (
            &token(&json!({"aud": "other"})),
            'f',
            "another audience (aud)",
        ),
        (&token(&json!({"scope": 5})), 'h', "claim scope"),
        (
            &token(&json!({"tenant": ""})),
            'h',
            "does not name the tenant",
        ),
    ] {
        let outcome = check(&config, text, &[]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        let last = outcome.stdout.lines().last().unwrap();
        assert!(last.starts_with(&format!("{letter} refused")), "{last}");
        assert!(last.contains(told), "{last}");
        assert_eq!(
            outcome.stdout.matches(" ok ").count(),
            usize::from(letter as u8 - b'a')
        );
        let outcome = check(&config, text, &["--json"]);
        let shown: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(shown["check"], letter.to_string());
        for part in text.split('.').filter(|part| part.len() > 8) {
            assert!(!format!("{outcome:?}").contains(part), "{outcome:?}");
        }
    }
    let outcome = check(&config, &format!("{good}\n"), &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for line in [
        "h ok scopes, tenant",
        "owner: main:42",
        "tenant: acme",
        "scopes: events:read",
    ] {
        assert!(
            outcome.stdout.lines().any(|shown| shown == line),
            "{outcome:?}"
        );
    }
    let file = folder.path().join("token");
    fs::write(&file, &good).unwrap();
    let from_file = check(
        &config,
        "",
        &["--json", "--token-file", file.to_str().unwrap()],
    );
    let shown: Value = serde_json::from_str(&from_file.stdout).unwrap();
    assert_eq!(shown["caller"]["owner"], "main:42");
    let mut command = tidegate(&["token", "check", "--config", &config]);
    assert_eq!(
        finish(command.env("TIDEGATE_TOKEN", &good), "").code,
        Some(0)
    );
    // The keys are not there.
    fs::remove_file(folder.path().join("secret")).unwrap();
    let outcome = check(&config, &good, &[]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("keys of the issuer \"main\" cannot be read"),
        "{outcome:?}"
    );
}

#[test]
fn a_token_on_the_command_line_is_refused_and_not_repeated() {
    let good = token(&json!({}));
    for arguments in [
        &["token", "check", &good][..],
        &["token", "check", "--token", &good],
        &["listen", "a", "--token", "tgk_0123456789_secret"],
        &["whoami", "tgk_0123456789_secret"],
    ] {
        let outcome = finish(&mut tidegate(arguments), "");
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(
            !outcome.stderr.contains("eyJ") && !outcome.stderr.contains("secret"),
            "{outcome:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_stored_if_it_names_something_and_holds_long_enough() {
    let (uri, database) = (shared_mongod().await.uri(), database_name());
    let (_folder, config) = configured();
    let revoke = |more: &[&str]| {
        let mut command = tidegate(&["token", "revoke", "--config", &config]);
        command.args(["--database", &database]).args(more);
        finish(command.env("TIDEGATE_MONGODB_URI", &uri), "")
    };
    for (more, code, told) in [
        (&[][..], 2, "required"),
        (&["--jti", "a", "--sub", "b"], 2, "cannot be used with"),
        (&["--sub", "a", "--issued-before", "soon"], 2, "RFC 3339"),
        (&["--tenant", "a:b"], 1, "colon"),
        (&["--sub", "a", "--issuer", "mian"], 1, "they have main"),
        (
            &["--sub", "a", "--expires-at", "23h"],
            1,
            "--expires-at must not be before",
        ),
    ] {
        let outcome = revoke(more);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(outcome.stderr.contains(told), "{outcome:?}");
    }
    for more in [
        &["--sub", "42", "--issuer", "main", "--reason", "has left"][..],
        &["--jti", "j", "--expires-at", "25h"],
        &["--kid", "k", "--tenant", "acme", "--issued-before", "10m"],
        &["--tenant", "gone"],
    ] {
        let outcome = revoke(more);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let id = outcome.stdout.trim();
        let client = Client::with_uri_str(&uri).await.unwrap();
        let stored = client
            .database(&database)
            .collection::<Document>("revocations");
        let stored = stored.find_one(doc! {"_id": id}).await.unwrap().unwrap();
        for pair in more
            .chunks(2)
            .filter(|pair| !pair[0].contains("-at") && !pair[0].contains("before"))
        {
            let field = pair[0].trim_start_matches("--");
            assert_eq!(stored.get_str(field).unwrap(), pair[1], "{stored}");
        }
        assert_eq!(
            stored.contains_key("expiresAt"),
            more.contains(&"--expires-at")
        );
        assert_eq!(
            stored.contains_key("issuedBefore"),
            more.contains(&"--issued-before")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_reads_the_keys_of_issuers() {
    let (uri, database) = (shared_mongod().await.uri(), database_name());
    let (folder, config) = configured();
    let look = || {
        let mut command = tidegate(&["doctor", "--json", "--config", &config]);
        command.args(["--database", &database]);
        let outcome = finish(command.env("TIDEGATE_MONGODB_URI", &uri), "");
        let findings = outcome
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let found = findings
            .into_iter()
            .find(|one: &Value| one["check"] == "issuers");
        (outcome.code, found.unwrap())
    };
    let (code, found) = look();
    assert_eq!(
        (code, &found["verdict"]),
        (Some(0), &json!("warning")),
        "{found}"
    );
    fs::remove_file(folder.path().join("secret")).unwrap();
    let (code, found) = look();
    assert_eq!(
        (code, &found["verdict"]),
        (Some(1), &json!("bad")),
        "{found}"
    );
    let told = found["found"].as_str().unwrap();
    assert!(told.starts_with("main: cannot be read"), "{told}");
}
