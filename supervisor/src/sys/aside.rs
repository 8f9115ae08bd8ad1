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
    busy(work).await
}

/// Does what may take long however little it looks at.
///
/// # Errors
/// When the work broke down.
pub async fn busy<T, F>(work: F) -> Result<T, AsideError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let place = PLACES.acquire().await.map_err(|_| AsideError)?;
    // Whoever asked may be gone before the work is done, and it takes its place until then.
    let work = move || {
        let _place = place;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| AsideError)
}

/// Leaves no place to anybody until what it gives is gone.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) async fn all_places() -> tokio::sync::SemaphorePermit<'static> {
    PLACES.acquire_many(AT_A_TIME.try_into().unwrap()).await.unwrap()
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
    async fn work_keeps_its_place_when_nobody_waits_for_it_any_more() {
        let (done, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let (begun, begins) = tokio::sync::oneshot::channel();
        let asked = tokio::spawn(busy(move || {
            begun.send(()).unwrap();
            wait.recv().unwrap();
        }));
        begins.await.unwrap();
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        assert!(PLACES.available_permits() < AT_A_TIME);
        done.send(()).unwrap();
    }

    #[tokio::test]
    async fn work_that_breaks_down_is_no_answer() {
        let broken: Result<(), _> = look(AT_ONCE_BYTES + 1, || panic!("on purpose")).await;
        assert_eq!(broken, Err(AsideError));
    }
}
