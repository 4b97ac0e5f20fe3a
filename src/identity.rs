//! Issuers of tokens: their rules, and their keys as they are now.
//!
//! One task an issuer keeps its keys ([`Keeper`]): it reads them at intervals and when a token names an unknown one, and tells the
//! router which keys left. Everyone else holds [`Issuers`], and verifies tokens where they arrive.

mod keeper;
mod source;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bson::DateTime;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

pub(crate) use self::keeper::Keeper;
use self::{keeper::Known, source::Source};
use crate::{
    access::{IssuerRules, KeySet, Proven, TokenFault, TokenIdentity, TokenText},
    config::{self, ConfigError},
    telemetry::Metrics,
};

/// The most requests that wait for newer keys of one issuer.
const ASKS: usize = 64;
/// The longest wait for keys: a read takes less.
const PATIENCE: Duration = Duration::from_secs(7);

/// The reason why a token is not verified.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Unverified {
    /// A check refuses it.
    #[error(transparent)]
    Refused(#[from] TokenFault),
    /// The issuer's keys were never read. Its name in the settings is nobody else's business.
    #[error("this node has not been able to read the keys of the token's issuer yet")]
    NoKeys,
    /// Too many wait for newer keys.
    #[error("too many tokens that name unknown keys are presented now")]
    Busy,
}

/// The reason why a token is not verified without a node.
#[derive(Debug)]
pub(crate) enum Unproved {
    /// A check refuses it.
    Refused(TokenFault),
    /// The keys of its issuer cannot be read.
    Keys {
        /// The issuer's name in the settings.
        issuer: String,
        reason: String,
    },
    /// The settings of its issuer cannot be used.
    Config(ConfigError),
}

impl From<TokenFault> for Unproved {
    fn from(fault: TokenFault) -> Self {
        Self::Refused(fault)
    }
}

/// Verifies a token without a node, with the keys of its issuer as they are now.
pub(crate) async fn verify_once(
    issuers: &BTreeMap<String, config::Issuer>,
    text: &str,
) -> Result<Proven, Unproved> {
    let token = TokenText::read(text)?;
    let mut issuers = issuers.iter();
    let issuer = issuers.find(|(_, settings)| settings.issuer == token.issuer());
    let (name, settings) = issuer.ok_or(TokenFault::Issuer)?;
    let keys = read_once(name, settings).await?;
    let rules = IssuerRules::new(name, settings);
    Ok(rules.verify(&token, &keys, DateTime::now())?)
}

/// Reads the keys of an issuer without a node. Returns the number of those that can be used, and of those that cannot.
pub(crate) async fn count_keys(
    name: &str,
    settings: &config::Issuer,
) -> Result<(usize, usize), Unproved> {
    Ok(read_once(name, settings).await?.counts())
}

async fn read_once(name: &str, settings: &config::Issuer) -> Result<KeySet, Unproved> {
    let source = Source::new(name, settings).map_err(Unproved::Config)?;
    let read = source.read().await.map_err(|fault| Unproved::Keys {
        issuer: name.to_owned(),
        reason: fault.to_string(),
    })?;
    Ok(read.keys)
}

/// The issuers of a node. Clones share them.
#[derive(Clone, Default, Debug)]
pub(crate) struct Issuers(Arc<[Issuer]>);

#[derive(Debug)]
struct Issuer {
    rules: IssuerRules,
    known: watch::Receiver<Known>,
    /// Asks the keeper to read the keys, unless it did so for another token a moment ago.
    asks: mpsc::Sender<oneshot::Sender<()>>,
}

/// Reads the files of these issuers. Returns the issuers, and their keepers, which must run.
pub(crate) async fn open(
    settings: &BTreeMap<String, config::Issuer>,
    metrics: &Arc<Metrics>,
) -> Result<(Issuers, Vec<Keeper>), ConfigError> {
    let (mut issuers, mut keepers) = (Vec::new(), Vec::new());
    for (name, settings) in settings {
        let source = Source::new(name, settings)?;
        let (asks, asked) = mpsc::channel(ASKS);
        let mut keeper = Keeper::new(name, source, settings, asked, Arc::clone(metrics));
        keeper.read_file().await?;
        issuers.push(Issuer {
            rules: IssuerRules::new(name, settings),
            known: keeper.known(),
            asks,
        });
        keepers.push(keeper);
    }
    Ok((Issuers(issuers.into()), keepers))
}

impl Issuers {
    /// Verifies a token, on the task of whoever presents it. If it names an unknown key, it waits for a read of the keys.
    /// Revocations are not asked.
    pub(crate) async fn verify(&self, text: &str) -> Result<Proven, Unverified> {
        let token = TokenText::read(text)?;
        let mut issuers = self.0.iter();
        let issuer = issuers.find(|issuer| issuer.rules.issuer() == token.issuer());
        let issuer = issuer.ok_or(TokenFault::Issuer)?;
        let verify = |keys: &KeySet| issuer.rules.verify(&token, keys, DateTime::now());
        match verify(&*issuer.keys().await?) {
            Err(fault) if fault.asks_for_keys() => {
                issuer.read_again().await?;
                Ok(verify(&*issuer.keys().await?)?)
            }
            verified => Ok(verified?),
        }
    }

    /// Whether the issuer of a token that was verified before, maybe on another node, still has the key that signed it. If
    /// this node does not know the key, it waits for a read of the keys.
    pub(crate) async fn trust(&self, token: &TokenIdentity) -> Result<bool, Unverified> {
        let mut issuers = self.0.iter();
        let Some(issuer) = issuers.find(|issuer| *issuer.rules.name() == *token.issuer) else {
            return Ok(false);
        };
        if issuer.keys().await?.has(&token.signed_by) {
            return Ok(true);
        }
        issuer.read_again().await?;
        Ok(issuer.keys().await?.has(&token.signed_by))
    }

    /// Returns the names of the issuers in the settings.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|issuer| issuer.rules.name())
    }

    /// Returns the longest time, in milliseconds, for which a token that is accepted now can stand: one of this issuer, or
    /// of any.
    pub(crate) fn longest_life(&self, name: Option<&str>) -> i64 {
        let concerned = |issuer: &&Issuer| name.is_none_or(|name| issuer.rules.name() == name);
        let lives = self.0.iter().filter(concerned);
        let lives = lives.map(|issuer| issuer.rules.longest_life());
        lives.max().unwrap_or(0)
    }
}

impl Issuer {
    /// Returns the keys as they are now. Right after the start it waits for the first read.
    async fn keys(&self) -> Result<Arc<KeySet>, Unverified> {
        let mut known = self.known.clone();
        let tried = timeout(PATIENCE, known.wait_for(|known| known.tried)).await;
        let keys = tried.ok().and_then(|known| known.ok()?.keys.clone());
        keys.ok_or(Unverified::NoKeys)
    }

    /// Has the keys read, and waits for that.
    async fn read_again(&self) -> Result<(), Unverified> {
        let (reply, read) = oneshot::channel();
        self.asks.try_send(reply).map_err(|_| Unverified::Busy)?;
        match timeout(PATIENCE, read).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Unverified::Busy),
        }
    }
}
