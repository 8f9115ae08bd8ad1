//! Work that others should not have to wait for: a search through megabytes keeps a processor busy for tenths of a second,
//! and the threads that serve everybody are few.
//!
//! Invariants: what is small is done at once; what is large is done on a thread that may be busy, only a few at a time,
//! the rest waits its turn. Work that breaks down is an error, never an answer.

use tokio::sync::Semaphore;

/// What is done at once, by the bytes that are looked at: less than a millisecond's worth.
const AT_ONCE_BYTES: usize = 32 * 1024;
/// So many at a time, whoever asks.
const AT_A_TIME: usize = 4;

static PLACES: Semaphore = Semaphore::const_new(AT_A_TIME);

/// The work broke down, so nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it could not be looked through")]
pub struct AsideError;

/// Looks through so many bytes.
///
/// # Errors
/// When the work broke down.
pub async fn look<T, F>(bytes: usize, work: F) -> Result<T, AsideError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if bytes <= AT_ONCE_BYTES {
        return Ok(work());
    }
    let _place = PLACES.acquire().await.map_err(|_| AsideError)?;
    tokio::task::spawn_blocking(work).await.map_err(|_| AsideError)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn what_is_large_is_looked_through_elsewhere() {
        let here = thread::current().id();
        let place = async |bytes| look(bytes, || thread::current().id()).await;
        assert_eq!(place(AT_ONCE_BYTES).await, Ok(here));
        assert!(place(AT_ONCE_BYTES + 1).await.is_ok_and(|there| there != here));
    }

    #[tokio::test]
    async fn work_that_breaks_down_is_no_answer() {
        let broken: Result<(), _> = look(AT_ONCE_BYTES + 1, || panic!("on purpose")).await;
        assert_eq!(broken, Err(AsideError));
    }
}
