//! All policies as the feed has applied them, and which of them narrows what.

use std::{borrow::Cow, collections::HashMap, num::NonZeroU32, sync::Arc};

use bson::{RawBsonRef, RawDocument};

use super::{
    BoundPolicy, BoundPublishing, CLAIMS, Caller, Claims, Credential, CredentialKind, POLICY,
    Policy, Quota, SaidQuotas, TENANT, is_tenant, room::Room,
};
use crate::{config, filter::Filter};

/// The policy of whoever has a tenant and names none.
const DEFAULT: &str = "default";

/// The reason why nothing can be seen: nobody can say by which policy it is narrowed, or how.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Unbound {
    /// A field of the binding has a value that cannot be one.
    #[error("the {0} cannot be read, so nobody can say what the subscription may receive")]
    Malformed(&'static str),
    /// There is no policy of this name.
    #[error("there is no policy {0:?}")]
    Missing(Box<str>),
    /// The document of this policy cannot be used.
    #[error("the policy {0:?} cannot be used")]
    Broken(Box<str>),
    /// The policy names a claim that is not there, or that it cannot use.
    #[error("the policy {policy:?} needs the claim {claim:?}, which is missing or of another kind")]
    Unsatisfied { policy: Box<str>, claim: Box<str> },
}

impl Unbound {
    /// Returns it as the fault of a subscription.
    pub(crate) fn fault(&self) -> Box<str> {
        let field = match self {
            Self::Malformed(field) => field,
            _ => POLICY,
        };
        format!("#/{field}: {self}").into()
    }

    /// Returns the claim that is missing, if one is.
    pub(crate) fn claim(&self) -> Option<&str> {
        match self {
            Self::Unsatisfied { claim, .. } => Some(claim),
            _ => None,
        }
    }
}

/// All policies by name.
#[derive(Clone, Debug)]
pub(crate) struct Policies {
    /// False if nobody has to prove itself: then nothing is narrowed.
    apply: bool,
    all: HashMap<Box<str>, Held>,
    room: Room,
}

/// A policy that is held.
#[derive(Clone, Debug)]
struct Held {
    /// `None`: the document cannot be used.
    policy: Option<Arc<Policy>>,
    /// The room that it takes.
    bytes: usize,
}

impl Policies {
    /// Returns no policies. `apply` is false for a service that asks nobody for a proof.
    pub(crate) fn new(apply: bool) -> Self {
        Self {
            apply,
            all: HashMap::new(),
            room: Room::default(),
        }
    }

    /// Returns no policies, for which there is so much room.
    pub(super) fn with_room(apply: bool, room: Room) -> Self {
        Self {
            room,
            ..Self::new(apply)
        }
    }

    /// Returns the room that they have.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// Whether they are applied: callers prove themselves.
    pub(crate) fn apply(&self) -> bool {
        self.apply
    }

    /// Applies a stored document. Returns the policy's name if it narrows in another way now. One for which there is no room
    /// is missing: nothing is in the sight of those that it binds.
    pub(super) fn store(&mut self, document: &RawDocument) -> Option<Box<str>> {
        let name = name(document)?;
        let bytes = Room::for_document(document.as_bytes().len());
        let before = self.take(name);
        if !self.room.has(bytes) {
            self.room.withhold(CredentialKind::Policy.collection());
            return (self.apply && before.is_some()).then(|| name.into());
        }
        let policy = match Policy::read(document) {
            Ok(policy) => Some(Arc::new(policy)),
            Err(fault) => {
                tracing::warn!(policy = name, %fault, "a stored policy cannot be used: nothing is in the sight of those that it binds");
                None
            }
        };
        let narrows_alike = match (before.map(|held| held.policy), &policy) {
            (Some(Some(before)), Some(now)) => before.narrows_like(now),
            (before, _) => matches!(before, Some(None)) && policy.is_none(),
        };
        self.room.take(None, bytes);
        self.all.insert(name.into(), Held { policy, bytes });
        (self.apply && !narrows_alike).then(|| name.into())
    }

    /// Forgets a policy. Returns its name if that narrows anything in another way.
    pub(super) fn remove(&mut self, key: &RawDocument) -> Option<Box<str>> {
        let name = name(key)?;
        let known = self.take(name).is_some();
        (self.apply && known).then(|| name.into())
    }

    fn take(&mut self, name: &str) -> Option<Held> {
        let held = self.all.remove(name)?;
        self.room.give_back(None, held.bytes);
        Some(held)
    }

    /// Forgets all policies. Returns whether that narrows anything in another way.
    pub(super) fn clear(&mut self) -> bool {
        self.room = self.room.emptied();
        let all = std::mem::take(&mut self.all);
        self.apply && !all.is_empty()
    }

    /// Returns the number of policies that can be used, and of those that cannot.
    pub(crate) fn count(&self) -> (usize, usize) {
        let usable = self.all.values().filter(|held| held.policy.is_some());
        let usable = usable.count();
        (usable, self.all.len() - usable)
    }

    /// Returns a policy, if its document can be used.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Policy>> {
        self.all.get(name)?.policy.as_ref()
    }

    fn usable(&self, name: &str) -> Result<&Policy, Unbound> {
        let held = self.all.get(name);
        let held = held.ok_or_else(|| Unbound::Missing(name.into()))?;
        let policy = held.policy.as_deref();
        policy.ok_or_else(|| Unbound::Broken(name.into()))
    }

    /// Returns the policy that narrows what a caller sees, bound to its claims; `None` if nothing narrows it.
    pub(crate) fn of_caller(&self, caller: &Caller) -> Result<Option<BoundPolicy>, Unbound> {
        self.bind(&Holding::of_caller(caller))
    }

    /// Checks that the policy that narrows what a caller sees, if one does, can be bound to its claims.
    pub(crate) fn check(&self, caller: &Caller) -> Result<(), Unbound> {
        let holding = Holding::of_caller(caller);
        let Some(name) = holding.policy().filter(|_| self.apply) else {
            return Ok(());
        };
        let checked = self.usable(name)?.check(holding.tenant, &holding.claims);
        checked.map_err(|unsatisfied| lacks(name, unsatisfied.claim))
    }

    /// Returns the policy that narrows a stored subscription, bound to its claims; `None` if nothing narrows it.
    pub(crate) fn of_document(
        &self,
        document: &RawDocument,
    ) -> Result<Option<BoundPolicy>, Unbound> {
        if !self.apply {
            return Ok(None);
        }
        self.bind(&Holding::of_document(document)?)
    }

    /// Returns the quotas that a caller's policy says, if it has one.
    pub(super) fn quotas_of(&self, caller: &Caller) -> Option<&SaidQuotas> {
        let name = Holding::of_caller(caller).policy()?;
        self.apply
            .then(|| self.get(name))?
            .map(|policy| policy.quotas())
    }

    fn bind(&self, holding: &Holding<'_>) -> Result<Option<BoundPolicy>, Unbound> {
        let Some(name) = holding.policy().filter(|_| self.apply) else {
            return Ok(None);
        };
        let bound = self.usable(name)?.bind(holding.tenant, &holding.claims);
        bound
            .map(Some)
            .map_err(|unsatisfied| lacks(name, unsatisfied.claim))
    }

    /// Returns the filter of a stored subscription, narrowed by its policy.
    pub(crate) fn narrow(
        &self,
        document: &RawDocument,
        filter: Option<Filter>,
    ) -> Result<Option<Filter>, Unbound> {
        let Some(policy) = self.of_document(document)? else {
            return Ok(filter);
        };
        Ok(filter.map(|filter| policy.narrow(&filter)))
    }

    /// Returns the rules for what a caller publishes; `None` if there are none.
    pub(crate) fn publishing(&self, caller: &Caller) -> Result<Option<BoundPublishing>, Unbound> {
        let holding = Holding::of_caller(caller);
        let Some(name) = holding.policy().filter(|_| self.apply) else {
            return Ok(None);
        };
        let policy = self.usable(name)?;
        let bound = policy.bind_publishing(holding.tenant, &holding.claims);
        bound
            .map(Some)
            .map_err(|unsatisfied| lacks(name, unsatisfied.claim))
    }

    /// Returns the claims of a caller that its policy names: those that a subscription of it is bound to.
    pub(crate) fn claims_to_bind(&self, caller: &Caller) -> Claims {
        let holding = Holding::of_caller(caller);
        let policy = holding.policy().and_then(|name| self.get(name));
        let mut claims = Claims::default();
        for name in policy.iter().flat_map(|policy| policy.claim_names()) {
            if let Some(value) = caller.claims.get(name) {
                claims.insert(name, value.clone());
            }
        }
        claims
    }

    /// Whether an open channel of a caller ends because the subscription has another binding now. One whose binding cannot be
    /// satisfied stays: it is invalid, and may be mended.
    pub(crate) fn shut_out(&self, caller: &Caller, document: &RawDocument) -> bool {
        self.of_document(document).is_ok() && !self.admit(caller, document)
    }

    /// Whether a caller may receive what a stored subscription receives: it has the same policy, and the same values of
    /// the claims that the policy names. An operator whom nothing narrows always may.
    pub(crate) fn admit(&self, caller: &Caller, document: &RawDocument) -> bool {
        if !self.apply || !caller.is_narrowed() {
            return true;
        }
        let mine = Holding::of_caller(caller);
        let Ok(its) = Holding::of_document(document) else {
            return false;
        };
        let Some(name) = its.policy().filter(|name| mine.policy() == Some(*name)) else {
            return false;
        };
        let same = |claim: &str| mine.claims.get(claim) == its.claims.get(claim);
        mine.tenant == its.tenant
            && self
                .get(name)
                .is_some_and(|policy| policy.claim_names().all(same))
    }
}

/// Returns the bound on the tenant of a caller, if it has a tenant and there is one.
pub(crate) fn tenant_bound(
    settings: &config::Quotas,
    policies: &Policies,
    caller: &Caller,
    quota: Quota,
) -> Option<NonZeroU32> {
    caller.tenant.as_ref()?;
    let said = policies.quotas_of(caller).and_then(|said| said.get(quota));
    NonZeroU32::new(said.unwrap_or_else(|| quota.of_settings(settings)))
}

/// Returns the name of the policy that narrows what a caller sees, if one does.
pub(super) fn policy_of(caller: &Caller) -> Option<&str> {
    Holding::of_caller(caller).policy()
}

/// Whether a stored subscription is narrowed by the policy of this name; by any, if none is named.
pub(crate) fn is_under(document: &RawDocument, name: Option<&str>) -> bool {
    // A binding that cannot be read has no policy.
    let policy = |holding: Holding<'_>| holding.policy().map(ToOwned::to_owned);
    let policy = Holding::of_document(document).ok().and_then(policy);
    policy.is_some_and(|policy| name.is_none_or(|name| *name == *policy))
}

/// The facts that decide how a caller or a subscription is narrowed.
struct Holding<'a> {
    tenant: Option<&'a str>,
    named: Option<&'a str>,
    claims: Cow<'a, Claims>,
}

impl<'a> Holding<'a> {
    fn of_caller(caller: &'a Caller) -> Self {
        let proved = caller.credential != Credential::None;
        Self {
            tenant: caller.tenant.as_deref().filter(|_| proved),
            named: caller.policy.as_deref().filter(|_| proved),
            claims: Cow::Borrowed(&caller.claims),
        }
    }

    fn of_document(document: &'a RawDocument) -> Result<Self, Unbound> {
        let text = |field, found| match found {
            Ok(None | Some(RawBsonRef::Null)) => Ok(None),
            Ok(Some(RawBsonRef::String(text))) if !text.is_empty() => Ok(Some(text)),
            _ => Err(Unbound::Malformed(field)),
        };
        let [tenant, claims, policy] = find(document, [TENANT, CLAIMS, POLICY]);
        let tenant = text(TENANT, tenant)?;
        if tenant.is_some_and(|tenant| !is_tenant(tenant)) {
            return Err(Unbound::Malformed(TENANT));
        }
        let claims = match claims {
            Ok(None | Some(RawBsonRef::Null)) => Claims::default(),
            Ok(Some(RawBsonRef::Document(claims))) => Claims::read(claims),
            _ => return Err(Unbound::Malformed(CLAIMS)),
        };
        Ok(Self {
            tenant,
            named: text(POLICY, policy)?,
            claims: Cow::Owned(claims),
        })
    }

    /// Returns the name of the policy, if one narrows.
    fn policy(&self) -> Option<&'a str> {
        self.named.or(self.tenant.map(|_| DEFAULT))
    }
}

/// Finds these fields in one pass, each as [`RawDocument::get`] does.
fn find<'d, const N: usize>(
    document: &'d RawDocument,
    names: [&str; N],
) -> [bson::error::Result<Option<RawBsonRef<'d>>>; N] {
    let mut found = names.map(|_| None);
    for element in document.iter_elements() {
        let element = match element {
            Ok(element) => element,
            // Nobody can say whether the rest is there.
            Err(error) => return found.map(|value| value.unwrap_or_else(|| Err(error.clone()))),
        };
        let place = names.iter().position(|name| element.key() == *name);
        if let Some(value) = place.map(|place| &mut found[place]) {
            value.get_or_insert_with(|| element.value().map(Some));
        }
    }
    found.map(|value| value.unwrap_or(Ok(None)))
}

fn lacks(policy: &str, claim: Box<str>) -> Unbound {
    let policy = policy.into();
    Unbound::Unsatisfied { policy, claim }
}

fn name(document: &RawDocument) -> Option<&str> {
    match document.get("_id") {
        Ok(Some(RawBsonRef::String(name))) => Some(name),
        _ => None,
    }
}
