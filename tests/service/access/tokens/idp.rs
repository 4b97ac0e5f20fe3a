//! An identity provider: keys, the tokens that they sign, and a server with the set of them.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use tidegate::config::Issuer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The audience of the service.
const AUDIENCE: &str = "https://feed.example.com";

/// A key that signs tokens.
pub(crate) struct Key {
    pub(crate) kid: String,
    pair: Pair,
}

enum Pair {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
}

impl Key {
    /// Makes a key of Ed25519.
    pub(crate) fn ed25519(kid: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self {
            kid: kid.to_owned(),
            pair: Pair::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()),
        }
    }

    /// Makes a key of P-256.
    pub(crate) fn p256(kid: &str) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        Self {
            kid: kid.to_owned(),
            pair: Pair::Ec(pair),
        }
    }

    /// Returns its public half as a JWK.
    pub(crate) fn jwk(&self) -> Value {
        let b64 = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match &self.pair {
            Pair::Ed(pair) => {
                let x = b64(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x})
            }
            Pair::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "x": b64(x), "y": b64(y)})
            }
        }
    }

    /// Signs claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({"kid": self.kid}), claims)
    }

    /// Signs claims without saying with which key.
    pub(crate) fn sign_unnamed(&self, claims: &Value) -> String {
        self.sign_with(&json!({}), claims)
    }

    fn sign_with(&self, named: &Value, claims: &Value) -> String {
        let alg = match self.pair {
            Pair::Ed(_) => "EdDSA",
            Pair::Ec(_) => "ES256",
        };
        let mut header = json!({"alg": alg, "typ": "at+jwt"});
        let named = named.as_object().unwrap().clone();
        header.as_object_mut().unwrap().extend(named);
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = match &self.pair {
            Pair::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Pair::Ec(pair) => {
                let signed = pair.sign(&SystemRandom::new(), message.as_bytes());
                signed.unwrap().as_ref().to_vec()
            }
        };
        format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}

/// The answer of the server.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A set of keys.
    Keys(Vec<Value>),
    /// These bytes, as they are.
    Raw(Vec<u8>),
    /// A redirect to another address.
    Redirect(String),
    /// A body of so many bytes, without an announcement of its length.
    Endless(usize),
    /// Nothing, ever.
    Silence,
}

/// A server with the keys of an issuer.
pub(crate) struct Idp {
    pub(crate) issuer: String,
    pub(crate) jwks_url: String,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Idp {
    /// Starts a server with these keys.
    pub(crate) async fn start(issuer: &str, keys: &[&Key]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(Answer::Keys(Vec::new())));
        let asked = Arc::new(AtomicUsize::new(0));
        let (answers, count) = (Arc::clone(&answer), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let answer = lock(&answers).clone();
                tokio::spawn(serve(stream, answer));
            }
        });
        let idp = Self {
            issuer: issuer.to_owned(),
            jwks_url: format!("http://{address}/jwks.json"),
            answer,
            asked,
            task,
        };
        idp.has(keys);
        idp
    }

    /// Answers with these keys from now on.
    pub(crate) fn has(&self, keys: &[&Key]) {
        self.answers(Answer::Keys(keys.iter().map(|key| key.jwk()).collect()));
    }

    /// Answers so from now on.
    pub(crate) fn answers(&self, answer: Answer) {
        *lock(&self.answer) = answer;
    }

    /// Returns how often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Returns settings that trust it, for callers of the tenant that a token names.
    pub(crate) fn settings(&self) -> Issuer {
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Issuer {
            issuer: self.issuer.clone(),
            audience: texts(&[AUDIENCE]),
            jwks_url: self.jwks_url.clone(),
            tenant_claim: "tenant".to_owned(),
            scopes: texts(&["subscriptions:own", "events:read", "keys:write"]),
            ..Issuer::default()
        }
    }

    /// Returns settings that trust it with operators.
    pub(crate) fn operators(&self) -> Issuer {
        Issuer {
            tenant_claim: String::new(),
            admin: true,
            ..self.settings()
        }
    }

    /// Returns the claims of a token, valid for an hour, with changes: null takes one away.
    pub(crate) fn claims(&self, change: &Value) -> Value {
        let now = now();
        let mut claims = json!({
            "iss": self.issuer, "aud": AUDIENCE, "sub": "42", "iat": now, "exp": now + 3600,
            "scope": "openid subscriptions:own events:read",
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        claims
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the time in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn lock(answer: &Mutex<Answer>) -> std::sync::MutexGuard<'_, Answer> {
    answer.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut stream: TcpStream, answer: Answer) {
    let mut head = [0; 4096];
    let mut read = 0;
    while !head[..read].ends_with(b"\r\n\r\n") {
        match stream.read(&mut head[read..]).await {
            Ok(0) | Err(_) => return,
            Ok(more) => read += more,
        }
    }
    let with_length = |bytes: &[u8]| {
        let length = bytes.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        [head.as_bytes(), bytes].concat()
    };
    let written = match answer {
        Answer::Keys(keys) => with_length(json!({"keys": keys}).to_string().as_bytes()),
        Answer::Raw(bytes) => with_length(&bytes),
        Answer::Redirect(to) => format!(
            "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        .into_bytes(),
        Answer::Endless(bytes) => {
            let mut all = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
            all.resize(all.len() + bytes, b' ');
            all
        }
        Answer::Silence => return std::future::pending().await,
    };
    // The client may have gone, which is what some tests are about.
    drop(stream.write_all(&written).await);
}
