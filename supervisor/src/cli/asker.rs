//! What waits for the user of a run that is joined: heard from the daemon on a thread of its own, so that the terminal
//! never waits for the daemon. Without one nothing is told, and the terminal goes on.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{ask_of, output};
use crate::api::answers::approvals::{AnswerParams, Asked, Lasts, Verdict as Word, WaitParams};
use crate::api::client::{Absent, Client};
use crate::api::ops::{ApprovalAnswer, ApprovalWait};
use crate::core::ids::{ApprovalId, RunId};
use crate::core::visible::visible;
use crate::run::attach::{Asker, Verdict};
use crate::sys::paths::Home;

/// How long one question to the daemon waits for news, in milliseconds.
const WAIT_MS: u64 = 25_000;
/// How long nobody is asked after a daemon that was not there.
const PAUSE: Duration = Duration::from_secs(2);

/// Hears of open questions until it is gone.
pub(super) struct Hearing(#[expect(dead_code, reason = "its end is what is heard")] oneshot::Sender<()>);

impl Hearing {
    /// Gives all open questions of one run whenever there are others; `None` where that is not possible.
    fn start(run: RunId, news: impl FnMut(Vec<Asked>) + Send + 'static) -> Option<Self> {
        let (ends, ended) = oneshot::channel();
        let client = Client::new(Home::from_env().ok()?, Absent::Fail);
        let hear = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                runtime.block_on(listen(client, run, news, ended));
            }
        };
        std::thread::Builder::new().name("approvals".into()).spawn(hear).ok()?;
        Some(Self(ends))
    }

    /// Says on stderr what waits: where nobody's terminal is joined that could show it.
    pub(super) fn narrate(run: RunId) -> Option<Self> {
        let mut told: Vec<ApprovalId> = Vec::new();
        Self::start(run, move |open| {
            for question in open.iter().filter(|question| !told.contains(&question.id)) {
                let (id, target) = (question.id.short(), output::printable(&visible(&question.target)));
                output::narrate_beside(format_args!(
                    "`{target}` waits for an answer: agentsup approvals show {id}"
                ));
            }
            told = open.into_iter().map(|question| question.id).collect();
        })
    }
}

/// The daemon's open questions of one run.
pub(super) struct Listener {
    open: Arc<Mutex<Vec<Asked>>>,
    changed: UnixStream,
    /// The thread ends with it.
    _hearing: Hearing,
}

impl Listener {
    /// Listens from now on; `None` where that is not possible.
    pub(super) fn start(run: RunId) -> Option<Self> {
        let (changed, mut told) = UnixStream::pair().ok()?;
        changed.set_nonblocking(true).and_then(|()| told.set_nonblocking(true)).ok()?;
        let open = Arc::new(Mutex::new(Vec::new()));
        let known = Arc::clone(&open);
        let hearing = Hearing::start(run, move |asked| {
            *known.lock().unwrap_or_else(PoisonError::into_inner) = asked;
            // Full means that it is readable already.
            let _told = told.write(&[0]);
        })?;
        Some(Self { open, changed, _hearing: hearing })
    }
}

async fn listen(
    client: Client,
    run: RunId,
    mut news: impl FnMut(Vec<Asked>),
    mut ended: oneshot::Receiver<()>,
) {
    let mut known: Vec<ApprovalId> = Vec::new();
    loop {
        let params = WaitParams { run: Some(run), known: known.clone(), timeout_ms: WAIT_MS };
        let asked = tokio::select! {
            asked = client.call::<ApprovalWait>(params) => asked,
            _ = &mut ended => return,
        };
        let Ok(asked) = asked else {
            match timeout(PAUSE, &mut ended).await {
                Ok(_) => return,
                Err(_) => continue,
            }
        };
        let ids: Vec<ApprovalId> = asked.iter().map(|question| question.id).collect();
        if ids != known {
            known = ids;
            news(asked);
        }
    }
}

impl Asker for Listener {
    fn changed(&self) -> BorrowedFd<'_> {
        self.changed.as_fd()
    }

    fn open(&mut self) -> Vec<Asked> {
        let mut bytes = [0; 64];
        while self.changed.read(&mut bytes).is_ok_and(|count| count > 0) {}
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn answer(&mut self, id: ApprovalId, verdict: Verdict) -> Result<(), String> {
        let (answer, lasts) = match verdict {
            Verdict::Allow(lasts) => (Word::Approve, lasts),
            Verdict::Deny => (Word::Deny, Lasts::Once),
        };
        let params = AnswerParams { id: id.to_string(), answer, lasts, reason: None };
        let answered = ask_of(Absent::Fail, async |client| client.call::<ApprovalAnswer>(params).await);
        answered.map(drop).map_err(|failure| failure.message)
    }
}
