//! Long computations, away from the threads that serve sockets.

use super::{failure::internal, problem::Problem};

/// Bodies up to this size are read on the spot: that is quicker than handing them over.
const ON_THE_SPOT_BYTES: usize = 64 << 10;

/// Does work that grows with a body of so many bytes. A panic in it is the caller's.
pub(crate) async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    if bytes <= ON_THE_SPOT_BYTES {
        return Ok(work());
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(internal(&error)),
    }
}
