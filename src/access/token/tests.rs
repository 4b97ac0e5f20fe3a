//! Tokens that another implementation made, and tokens that nobody should make (`tests/tokens/make`).

use bson::DateTime;
use serde_json::Value;

use super::*;
use crate::{
    access::{Caller, Credential, Scope},
    config,
};

struct World {
    now: DateTime,
    all: Value,
    issuers: Vec<(IssuerRules, KeySet)>,
}

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

impl World {
    fn new() -> Self {
        let text = include_str!("../../../tests/tokens/tokens.json");
        let all: Value = serde_json::from_str(text).unwrap();
        let mut usable = all["usable"].as_array().unwrap().clone();
        usable.extend(all["unusable"].as_array().unwrap().iter().cloned());
        let set = |keys: &[Value]| {
            let text = serde_json::json!({"keys": keys}).to_string();
            KeySet::read_jwks(text.as_bytes()).unwrap()
        };
        let main = set(&usable);
        let others = set(all["others"].as_array().unwrap());
        let secret = KeySet::of_secret(all["secret"].as_str().unwrap().as_bytes()).unwrap();
        let settings = |name: &str| config::Issuer {
            issuer: all["issuers"][name].as_str().unwrap().to_owned(),
            audience: texts(&[all["audience"].as_str().unwrap()]),
            algorithms: texts(&[
                "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
            ]),
            tenant_claim: "tenant".to_owned(),
            scopes: texts(&["subscriptions:own", "events:read", "metrics"]),
            default_scopes: texts(&["metrics"]),
            ..config::Issuer::default()
        };
        let shared = config::Issuer {
            algorithms: texts(&["HS256", "HS384", "HS512"]),
            ..settings("shared")
        };
        let open = config::Issuer {
            typ: String::new(),
            ..settings("open")
        };
        Self {
            now: DateTime::from_millis(all["now"].as_i64().unwrap() * 1_000),
            issuers: vec![
                (IssuerRules::new("main", &settings("main")), main.clone()),
                (IssuerRules::new("other", &settings("other")), others),
                (IssuerRules::new("shared", &shared), secret),
                (IssuerRules::new("open", &open), main),
            ],
            all,
        }
    }

    fn verify(&self, text: &str) -> Result<Proven, TokenFault> {
        let token = TokenText::read(text)?;
        let mut issuers = self.issuers.iter();
        let issuer = issuers.find(|(rules, _)| rules.issuer() == token.issuer());
        let (rules, keys) = issuer.ok_or(TokenFault::Issuer)?;
        rules.verify(&token, keys, self.now)
    }

    fn token(&self, name: &str) -> &str {
        let tokens = self.all["tokens"].as_array().unwrap();
        let found = tokens.iter().find(|case| case["name"] == name);
        found.unwrap()["token"].as_str().unwrap()
    }

    fn caller(&self, name: &str) -> Caller {
        match self.verify(self.token(name)) {
            Ok(Proven::Caller(caller)) => caller,
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn names(caller: &Caller) -> Vec<&'static str> {
    caller.scopes.iter().map(Scope::as_str).collect()
}

#[test]
fn each_token_is_refused_by_the_check_that_is_meant_for_it() {
    let world = World::new();
    let tokens = world.all["tokens"].as_array().unwrap();
    assert!(tokens.len() > 200);
    let mut wrong = Vec::new();
    for case in tokens {
        let found = match world.verify(case["token"].as_str().unwrap()) {
            Ok(Proven::Caller(_)) => "ok".to_owned(),
            Ok(Proven::Tenantless { .. }) => "tenantless".to_owned(),
            Err(fault) => format!("{} {}", fault.check(), fault.outcome()),
        };
        if found != case["expected"] {
            wrong.push(format!(
                "{}: {found}, not {}",
                case["name"], case["expected"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_token_is_quoted_and_none_but_the_issuers_own_are_explained() {
    let world = World::new();
    for case in world.all["tokens"].as_array().unwrap() {
        let Err(fault) = world.verify(case["token"].as_str().unwrap()) else {
            continue;
        };
        let told = fault.to_string();
        assert!(
            !told.contains("id.example") && !told.contains("d1"),
            "{told}"
        );
        assert_eq!(fault.is_told(), fault.check() >= 'f', "{told}");
    }
}

#[test]
fn a_token_proves_a_caller() {
    let world = World::new();
    let caller = world.caller("ES256");
    assert_eq!(caller.kind.as_str(), "jwt");
    assert_eq!(&*caller.id, "42");
    assert_eq!(caller.owner.as_deref(), Some("main:42"));
    assert_eq!(caller.tenant.as_deref(), Some("acme"));
    assert_eq!(caller.policy.as_deref(), Some("default"));
    assert_eq!(names(&caller), ["subscriptions:own", "events:read"]);
    let end = world.now.timestamp_millis() + 3_600_000 + 30_000;
    assert_eq!(caller.expires_at, Some(DateTime::from_millis(end)));
    let Credential::Token(token) = &caller.credential else {
        panic!("{caller:?}");
    };
    assert_eq!((&*token.issuer, &*token.subject), ("main", "42"));
    assert_eq!(token.jti.as_deref(), Some("j-1"));
    assert_eq!(token.kid.as_deref(), Some("e1"));
    let issued = world.now.timestamp_millis() / 1_000 - 10;
    assert_eq!(token.issued_at, Some(issued));
    let claims = caller.claims.to_document();
    let kept: Vec<_> = claims.keys().map(String::as_str).collect();
    assert_eq!(kept, ["aud", "iss", "scope", "sub"]);
    // Two issuers' 42 are two people.
    let other = world.caller("the other issuer's own");
    assert_eq!(other.owner.as_deref(), Some("other:42"));
}

#[test]
fn a_token_is_known_by_the_id_of_the_key_that_signed_it_whether_it_names_that_or_not() {
    let world = World::new();
    let kid = |caller: &Caller| match &caller.credential {
        Credential::Token(token) => token.kid.clone(),
        other => panic!("{other:?}"),
    };
    for (name, expected) in [("no kid", "d1"), ("no kid, RSA", "r1"), ("EdDSA", "d1")] {
        assert_eq!(
            kid(&world.caller(name)).as_deref(),
            Some(expected),
            "{name}"
        );
    }
    // Keys of a file have no ids: then the token's own word stands.
    let pem = world.all["pem"]["all"].as_str().unwrap();
    let keys = KeySet::read_file(pem.as_bytes()).unwrap();
    for (name, expected) in [("no kid", None), ("EdDSA", Some("d1"))] {
        let token = TokenText::read(world.token(name)).unwrap();
        match world.issuers[0].0.verify(&token, &keys, world.now) {
            Ok(Proven::Caller(caller)) => assert_eq!(kid(&caller).as_deref(), expected, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_token_has_the_scopes_that_it_names_within_the_ceiling() {
    let world = World::new();
    let tokens = world.all["tokens"].as_array().unwrap();
    let with_scopes = tokens.iter().filter(|case| case["scopes"].is_array());
    let mut seen = 0;
    for case in with_scopes {
        let name = case["name"].as_str().unwrap();
        let found = serde_json::json!(names(&world.caller(name)));
        assert_eq!(found, case["scopes"], "{name}");
        seen += 1;
    }
    assert!(seen > 10);
}

#[test]
fn who_is_of_no_tenant_has_no_scope() {
    let world = World::new();
    match world.verify(world.token("tenant is empty")) {
        Ok(Proven::Tenantless { caller, claim }) => {
            assert_eq!(&*claim, "tenant");
            assert!(names(&caller).is_empty() && caller.sight() == crate::access::Sight::NOTHING);
        }
        other => panic!("{other:?}"),
    }
}

/// Rules as a configuration has them that was not checked.
fn rules(change: impl FnOnce(&mut config::Issuer)) -> IssuerRules {
    let mut settings = config::Issuer {
        issuer: "https://id.example.com/".to_owned(),
        audience: texts(&["https://feed.example.com"]),
        scopes: texts(&["admin"]),
        ..config::Issuer::default()
    };
    change(&mut settings);
    IssuerRules::new("main", &settings)
}

#[test]
fn only_an_issuer_of_operators_makes_operators() {
    let world = World::new();
    let keys = &world.issuers[0].1;
    let verify = |rules: &IssuerRules, name: &str| {
        let token = TokenText::read(world.token(name)).unwrap();
        rules.verify(&token, keys, world.now)
    };
    let operators = rules(|issuer| issuer.admin = true);
    match verify(&operators, "scopes: admin") {
        Ok(Proven::Caller(caller)) => {
            assert!(caller.is_operator() && caller.may(Scope::Admin) && caller.policy.is_none());
        }
        other => panic!("{other:?}"),
    }
    let tenants = rules(|issuer| {
        issuer.admin = true;
        issuer.tenant = "acme".to_owned();
        issuer.policy = "p".to_owned();
    });
    match verify(&tenants, "scopes: admin") {
        Ok(Proven::Caller(caller)) => {
            assert_eq!(caller.tenant.as_deref(), Some("acme"));
            assert_eq!(caller.policy.as_deref(), Some("p"));
            assert!(names(&caller).is_empty());
        }
        other => panic!("{other:?}"),
    }
    let unchecked = verify(&rules(|_| {}), "scopes: admin");
    assert!(
        matches!(unchecked, Ok(Proven::Tenantless { .. })),
        "{unchecked:?}"
    );
}

#[test]
fn a_public_key_is_no_secret_even_where_both_kinds_of_algorithms_are_allowed() {
    let world = World::new();
    let confused = rules(|issuer| {
        issuer.tenant = "acme".to_owned();
        issuer.algorithms = texts(&["HS256", "HS512", "RS256", "EdDSA"]);
    });
    for case in world.all["tokens"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        if !name.starts_with("HS") && !name.ends_with("secret") {
            continue;
        }
        let Ok(token) = TokenText::read(case["token"].as_str().unwrap()) else {
            continue;
        };
        for (_, keys) in &world.issuers[..2] {
            assert!(confused.verify(&token, keys, world.now).is_err(), "{name}");
        }
    }
}

#[test]
fn at_most_64_claims_are_kept_and_none_that_no_policy_can_use() {
    use super::payload::Payload;
    let mut all = serde_json::Map::new();
    for n in 0..100 {
        all.insert(format!("c{n:03}"), n.into());
    }
    assert_eq!(Payload(&all).claims().len(), 64);
    let usable = serde_json::json!({
        "text": "a", "flag": true, "int": -5, "double": 0.5, "list": ["a", 1], "none": [],
    });
    let unusable = serde_json::json!({
        "empty": "", "null": null, "object": {"a": 1}, "nested": [["a"]], "odd": ["a", null],
        "large": u64::MAX, "long": vec![1; 65], "exp": 1, "tenant": "other", "jti": "j",
    });
    let mut both = unusable.as_object().unwrap().clone();
    both.extend(usable.as_object().unwrap().clone());
    let kept = Payload(&both).claims().to_document();
    let names: Vec<_> = kept.keys().map(String::as_str).collect();
    assert_eq!(names, ["double", "flag", "int", "list", "none", "text"]);
}

fn jwks(keys: &[Value]) -> Result<KeySet, KeySetFault> {
    let text = serde_json::json!({"keys": keys}).to_string();
    KeySet::read_jwks(text.as_bytes())
}

#[test]
fn keys_that_cannot_be_used_are_skipped_and_counted() {
    let world = World::new();
    let unusable = world.all["unusable"].as_array().unwrap();
    for key in unusable {
        assert_eq!(
            jwks(std::slice::from_ref(key)).unwrap().counts(),
            (0, 1),
            "{key}"
        );
    }
    assert_eq!(world.issuers[0].1.counts(), (5, unusable.len()));
    let twice = r#"{"keys": [], "keys": [1]}"#;
    for text in ["", "[]", "{}", r#"{"keys": {}}"#, "<html>", twice] {
        let fault = KeySet::read_jwks(text.as_bytes()).unwrap_err();
        assert_eq!(fault, KeySetFault::NoSet, "{text}");
    }
    let usable = &world.all["usable"][0];
    assert_eq!(
        jwks(&vec![usable.clone(); 101]).unwrap_err(),
        KeySetFault::TooMany
    );
    assert_eq!(jwks(&vec![usable.clone(); 100]).unwrap().counts(), (100, 0));
    assert_eq!(jwks(&[]).unwrap().counts(), (0, 0));
    let large = vec![b' '; MOST_SET_BYTES + 1];
    assert_eq!(
        KeySet::read_jwks(&large).unwrap_err(),
        KeySetFault::TooLarge
    );
}

#[test]
fn keys_in_a_file_are_pem_or_a_set() {
    let world = World::new();
    for (name, text) in world.all["pem"].as_object().unwrap() {
        let set = KeySet::read_file(text.as_str().unwrap().as_bytes());
        let expected = if name == "all" { 4 } else { 1 };
        assert_eq!(set.unwrap().counts(), (expected, 0), "{name}");
    }
    for (name, text) in world.all["bad_pem"].as_object().unwrap() {
        let expected = if name.contains("private") {
            KeySetFault::Private
        } else {
            KeySetFault::Nothing
        };
        let fault = KeySet::read_file(text.as_str().unwrap().as_bytes()).unwrap_err();
        assert_eq!(fault, expected, "{name}");
    }
    let all = world.all["pem"]["all"].as_str().unwrap();
    let keys = KeySet::read_file(all.as_bytes()).unwrap();
    for name in ["RS256", "PS512", "ES256", "ES384", "EdDSA", "no kid"] {
        let token = TokenText::read(world.token(name)).unwrap();
        let proven = world.issuers[0].0.verify(&token, &keys, world.now);
        assert!(
            matches!(proven, Ok(Proven::Caller(_))),
            "{name}: {proven:?}"
        );
    }
    let set = serde_json::json!({"keys": world.all["usable"]}).to_string();
    assert_eq!(KeySet::read_file(set.as_bytes()).unwrap().counts(), (5, 0));
    assert_eq!(
        KeySet::read_file(b"{\"keys\":[]}").unwrap_err(),
        KeySetFault::Nothing
    );
}

#[test]
fn a_secret_is_as_long_as_its_hash() {
    for (secret, expected) in [
        ("", false),
        ("\n", false),
        (&"x".repeat(31), false),
        (&format!("{}\r\n", "x".repeat(31)), false),
        (&"x".repeat(32), true),
        (&format!("{}\n", "x".repeat(32)), true),
    ] {
        let read = KeySet::of_secret(secret.as_bytes());
        assert_eq!(read.is_ok(), expected, "{secret:?}");
    }
}

#[test]
fn a_key_that_left_is_known_by_itself_and_its_id() {
    let world = World::new();
    let usable = world.all["usable"].as_array().unwrap();
    let (before, after) = (jwks(usable).unwrap(), jwks(&usable[1..]).unwrap());
    assert_eq!(before.change_from(&before, "main"), None);
    let change = after.change_from(&before, "main").unwrap();
    let Credential::Token(token) = world.caller("RS256").credential else {
        panic!("no token");
    };
    assert_eq!(change.left, [token.signed_by]);
    assert!(change.came.is_empty());
    let mut renamed = usable.clone();
    renamed[0]["kid"] = "r9".into();
    let change = jwks(&renamed)
        .unwrap()
        .change_from(&before, "main")
        .unwrap();
    assert_eq!(change.left, [token.signed_by]);
    assert_eq!(change.came.len(), 1);
}
