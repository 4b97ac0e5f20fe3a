//! Long computations, kept off the threads that serve sockets and bounded in number.

use std::time::Duration;

use tokio::time::timeout;
use tracing::Span;

use super::{
    failure::internal,
    problem::{Kind, Problem},
};
use crate::turns::{Crowded, Turn, Turns};

/// The time that a request waits for a permit before it is refused.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// The size up to which a body is read in place: that is quicker than handing it over.
const IN_PLACE_BYTES: usize = 64 << 10;

/// A bound on how much work of one kind is under way at once. Tenants take turns at it, and none has all of it. Clones share
/// it. Nobody gets a permit without a word on whose request it is.
#[derive(Clone, Debug)]
pub(crate) struct ConcurrencyLimit {
    permits: Turns,
    /// The kind of work, as it is named in refusals.
    of: &'static str,
}

/// A limit as it is for the requests of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct LimitOfTenant {
    limit: ConcurrencyLimit,
    /// The tenant in whose queue a request waits; `None`: in that of all who have none.
    tenant: Option<Box<str>>,
}

impl ConcurrencyLimit {
    /// Returns a limit of `most` at once.
    pub(crate) fn new(most: usize, of: &'static str) -> Self {
        let permits = Turns::never_all_of_one(most);
        Self { permits, of }
    }

    /// Returns the limit for requests of this tenant, which wait in a queue of their own.
    pub(crate) fn for_tenant(&self, tenant: Option<&str>) -> LimitOfTenant {
        LimitOfTenant {
            limit: self.clone(),
            tenant: tenant.map(Into::into),
        }
    }

    /// Returns the limit for requests that operators alone may make.
    pub(crate) fn for_operators(&self) -> LimitOfTenant {
        self.for_tenant(None)
    }
}

impl LimitOfTenant {
    /// Waits for a permit. Refuses the request if none is free in time, or too many of its tenant wait.
    pub(crate) async fn acquire(&self) -> Result<Turn, Problem> {
        let ConcurrencyLimit { permits, of } = &self.limit;
        let taking = permits.take_unless_crowded(self.tenant.as_deref());
        let what = match timeout(PERMIT_TIMEOUT, taking).await {
            Ok(Ok(turn)) => return Ok(turn),
            Ok(Err(Crowded)) => "of the tenant's waiting",
            Err(_) => "under way",
        };
        let detail = format!("this node has as many {of} {what} as it allows; try again");
        Err(Problem::new(Kind::Overloaded, detail))
    }

    /// Does work on a thread of its own under a permit. A panic in it becomes the caller's. If the caller leaves, the
    /// permit is kept until the work is done.
    pub(crate) async fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        run_blocking(Some(self.acquire().await?), work).await
    }

    /// Does work that must not be refused, because the write that it belongs to is done. If no permit is free in time, it
    /// goes without.
    pub(crate) async fn offload_anyway<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        run_blocking(self.acquire().await.ok(), work).await
    }

    /// Does work that grows with a body of this size: in place if the body is small, else offloaded.
    pub(crate) async fn offload_large<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if bytes <= IN_PLACE_BYTES {
            return Ok(work());
        }
        self.offload(work).await
    }
}

async fn run_blocking<T: Send + 'static>(
    permit: Option<Turn>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let span = Span::current();
    let work = move || {
        let done = span.in_scope(work);
        drop(permit);
        done
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(internal(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_waits_for_a_permit_and_not_for_ever() {
        let limit = ConcurrencyLimit::new(1, "tests").for_operators();
        let permit = limit.acquire().await.unwrap();
        let refused = limit.offload(|| 1).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Overloaded);
        assert_eq!(limit.offload_large(1, || 2).await.unwrap(), 2);
        assert_eq!(limit.offload_anyway(|| 4).await.unwrap(), 4);
        drop(permit);
        assert_eq!(limit.offload(|| 3).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_panic_is_the_callers_and_the_permit_is_given_back() {
        let limit = ConcurrencyLimit::new(1, "tests").for_operators();
        for _ in 0..3 {
            let limit = limit.clone();
            let work = tokio::spawn(async move { limit.offload(|| panic!("on purpose")).await });
            assert!(work.await.unwrap_err().is_panic());
        }
    }

    #[tokio::test]
    async fn a_tenant_does_not_wait_behind_all_of_another() {
        let limit = ConcurrencyLimit::new(1, "tests");
        let held = limit.for_operators().acquire().await.unwrap();
        let (busy, other) = (
            limit.for_tenant(Some("busy")),
            limit.for_tenant(Some("other")),
        );
        let (first, second, third) = (busy.acquire(), busy.acquire(), other.acquire());
        tokio::pin!(first, second, third);
        for waiting in [&mut first, &mut second] {
            assert!(futures_util::poll!(waiting).is_pending());
        }
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(held);
        drop(first.await.unwrap());
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(third.await.unwrap());
        drop(second.await.unwrap());
    }
}
