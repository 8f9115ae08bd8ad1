//! Waiting for an instant of the wall clock, however it is set meanwhile and however long the machine sleeps.

/// Completes when the wall clock shows `at_ms`, milliseconds since 1970, or later; never without an instant.
pub async fn wait_until(at_ms: Option<i64>) {
    let Some(at_ms) = at_ms else { return std::future::pending().await };
    #[cfg(target_os = "linux")]
    match timer::wait_until(at_ms).await {
        Ok(()) => return,
        Err(error) => tracing::warn!(%error, "there is no timer for the wall clock"),
    }
    step_until(at_ms).await;
}

/// Where the system has no such timer: the clock is looked at now and then.
async fn step_until(at_ms: i64) {
    const STEP_MS: i64 = 30_000;
    loop {
        let left = at_ms.saturating_sub(super::clock::now_ms());
        let Ok(step) = u64::try_from(left.min(STEP_MS)) else { return };
        if step == 0 {
            return;
        }
        let until = tokio::time::Instant::now() + std::time::Duration::from_millis(step);
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(target_os = "linux")]
mod timer {
    use std::io;
    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// An absolute timer of the wall clock: the kernel moves it along when the clock is set.
    pub(super) async fn wait_until(at_ms: i64) -> io::Result<()> {
        // Zero would mean no timer at all.
        let at_ms = at_ms.max(1);
        let value =
            libc::timespec { tv_sec: at_ms.div_euclid(1000), tv_nsec: at_ms.rem_euclid(1000) * 1_000_000 };
        let once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = libc::itimerspec { it_interval: once, it_value: value };
        // SAFETY: plain system call without pointers.
        let fd =
            unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just handed us this descriptor and nobody else holds it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: `spec` is valid for reads, and nothing is to be written.
        let set = unsafe {
            libc::timerfd_settime(
                fd.as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &raw const spec,
                std::ptr::null_mut(),
            )
        };
        if set < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is open, and it is moved in here, so nobody else closes it while it is registered.
        let armed = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        armed.readable().await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::clock::now_ms;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn an_instant_is_waited_for_and_one_that_is_over_is_not() {
        for past in [i64::MIN, 0, 1, now_ms()] {
            tokio::time::timeout(PATIENCE, wait_until(Some(past))).await.unwrap();
            tokio::time::timeout(PATIENCE, step_until(past)).await.unwrap();
        }
        for wait in [true, false] {
            let at_ms = now_ms() + 30;
            let waited = async { if wait { wait_until(Some(at_ms)).await } else { step_until(at_ms).await } };
            tokio::time::timeout(PATIENCE, waited).await.unwrap();
            assert!(now_ms() >= at_ms, "not before its time");
        }
        let mut never = std::pin::pin!(wait_until(None));
        let mut far = std::pin::pin!(wait_until(Some(i64::MAX / 2)));
        tokio::task::yield_now().await;
        assert!(
            futures_util::poll!(never.as_mut()).is_pending()
                && futures_util::poll!(far.as_mut()).is_pending()
        );
    }
}
