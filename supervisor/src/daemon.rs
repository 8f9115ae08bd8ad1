//! The daemon: one process per user and home that puts all parts together. Reads top to bottom.
//!
//! Nothing of a run depends on it staying alive: agents lose models and tools when it dies (fail closed), keepers keep
//! their terminals and work, and the next daemon finds them again. It listens on the same port again, because running
//! agents know no other.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::loopback::{self, Doors};
use crate::api::server::{self, Activity};
use crate::api::start::Readiness;
use crate::api::{App, SharedApp};
use crate::catalog::{self, git::GitRegistry};
use crate::core::error::{Code, Failure};
use crate::core::record::EventEntry;
use crate::core::visible::visible;
use crate::demo;
use crate::gate::Gate;
use crate::gateway::Gateway;
use crate::hooks::{Hooks, Meter};
use crate::mcp::Proxy;
use crate::registry::{Registry, Snapshot, Switch, short};
use crate::run::{AfterRun, Runs, deprovision, reconcile, stop};
use crate::store::{Store, StoreError, facts, meta, runs};
use crate::sys::env::Env;
use crate::sys::grounds::Homes;
use crate::sys::lock::{FileLock, LockError};
use crate::sys::paths::Home;
use crate::sys::upstream::Upstream;
use crate::sys::{clock, listen, log, notification, socket, spawn};

/// Two threads: no run's large body or policy evaluation ever stands in the way of another run's stream. One thread
/// would save some microseconds of scheduling on each call; a model takes a hundred thousand.
const WORKERS: usize = 2;
/// How long to stay without runs and clients.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// How long a former daemon may take to let go of the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
/// How long blocking work may hold up the end.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How long model calls that nobody waits for any more may take to be settled by what they really cost.
const CALLS_TIMEOUT: Duration = Duration::from_secs(10);
/// How often old facts are erased.
const ERASE_EVERY: Duration = Duration::from_secs(60 * 60);
/// How many in one transaction: agents wait behind it.
const ERASE_STEP: u32 = 200;
/// Where the port is kept.
const PORT_KEY: &str = "loopback-port";

/// Becomes the daemon: `agentsup __daemon`. Reports on standard output when it serves or why it does not.
pub fn main() -> ExitCode {
    // Agents run as the same user: its memory and environment are none of their business.
    let hidden = spawn::set_nondumpable().and_then(|()| spawn::detach(c"agentsup-daemon"));
    let served = hidden.map_err(|error| Failure::internal(&error)).and_then(|()| {
        let home = Home::from_env()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .map_err(|error| Failure::internal(&error))?;
        let served = runtime.block_on(run(home));
        runtime.shutdown_timeout(END_TIMEOUT);
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!(%failure, "the daemon ends");
            let code = failure.code.exit_code();
            // After readiness nobody reads it any more, and it goes nowhere.
            let _unheard = report(&Readiness::Failed(failure));
            ExitCode::from(code)
        }
    }
}

async fn run(home: Home) -> Result<(), Failure> {
    home.prepare()?;
    let lock = lock(&home).await?;
    log::start(&home.log_file()).map_err(|error| Failure::internal(&error))?;
    let shutdown = CancellationToken::new();
    end_on_signals(&shutdown)?;

    let store = Store::open(&home.database())?;
    let registry = Registry::start(&home)?;
    let gate = Gate::new(store.clone(), registry.clone());
    let recovered = gate.recover().await?;
    let (door, port) = open_door(&store).await?;
    offer_demo(&registry, port)?;
    let gateway = Gateway::new(gate.clone(), registry.clone()).map_err(|error| Failure::internal(&error))?;
    let upstream = Upstream::new().map_err(|error| Failure::internal(&error))?;
    let proxy = Proxy::new(gate.clone(), &registry, &home, upstream);
    let hooks = Hooks::new(gate.clone(), Homes::new(&home, Env::current()), meter(&gateway));
    let after_run = forget_hooks(hooks.clone());
    let runs = Runs::new(home.clone(), store.clone(), registry.clone(), gate.clone(), port, after_run);
    let reconciled = reconcile::reconcile(&runs).await?;
    let socket = socket::bind(&home.socket(), &lock).map_err(|error| Failure::internal(&error))?;
    let socket = tokio::net::UnixListener::from_std(socket).map_err(|error| Failure::internal(&error))?;
    let door = tokio::net::TcpListener::from_std(door).map_err(|error| Failure::internal(&error))?;

    let started_at_ms = clock::now_ms();
    let git_registry = GitRegistry::new(home.clone(), registry.clone(), gate.clone());
    let app = Arc::new(App {
        home,
        store: store.clone(),
        registry,
        catalog: git_registry,
        gate,
        runs,
        proxy: proxy.clone(),
        port,
        started_at_ms,
        shutdown: shutdown.clone(),
    });
    note_start(&app, recovered).await?;
    report(&Readiness::Ready).map_err(|error| Failure::internal(&error))?;
    tracing::info!(port, alive = reconciled.alive, ended = reconciled.ended, recovered, "the daemon serves");

    let activity = Activity::default();
    tokio::spawn(tidy(app.runs.clone()));
    tokio::spawn(end_when_idle(app.runs.count(), activity.clone(), shutdown.clone()));
    tokio::spawn(tell_registry_changes(Arc::clone(&app)));
    tokio::spawn(catalog::follow(app.catalog.clone(), shutdown.clone()));
    tokio::spawn(gateway.clone().reconcile(shutdown.clone()));
    tokio::spawn(tell_alerts(Arc::clone(&app)));
    tokio::spawn(tell_questions(Arc::clone(&app)));
    tokio::spawn(erase_old_facts(Arc::clone(&app)));
    tokio::spawn(end_overspent(Arc::clone(&app)));
    tokio::spawn(deprovision::follow(app.runs.clone(), shutdown.clone()));
    let (gateway_door, mcp) = (gateway.clone(), proxy.clone());
    let doors = Arc::new(Doors { port, gateway: gateway_door, mcp, hooks, app: Arc::clone(&app) });
    tokio::join!(loopback::serve(door, doors, shutdown.clone()), server::serve(socket, app, activity));
    gateway.finish(CALLS_TIMEOUT).await;
    proxy.shutdown().await;
    if let Err(error) = store.sync().await {
        tracing::error!(%error, "the end of the record may not be on the disk");
    }
    tracing::info!("the daemon ends");
    // Held until the process is gone: whoever waits for it waits for that.
    std::mem::forget(lock);
    Ok(())
}

/// The demo's model stands behind our own front door, and its MCP server is this program.
fn offer_demo(registry: &Registry, port: u16) -> Result<(), Failure> {
    let own_program = spawn::own_program().map_err(|error| Failure::internal(&error))?;
    if let Some(parts) = demo::parts(port, &own_program) {
        registry.offer_demo(parts);
    }
    Ok(())
}

/// What hooks tell of model calls that went past the gateway is priced there.
fn meter(gateway: &Gateway) -> Meter {
    let gateway = gateway.clone();
    Box::new(move |live, spent| {
        let gateway = gateway.clone();
        Box::pin(async move { gateway.hear_spent(&live, spent).await })
    })
}

/// Permits whose end the agent's hooks never reported are settled when its run is over.
fn forget_hooks(hooks: Hooks) -> AfterRun {
    Box::new(move |live| {
        let hooks = hooks.clone();
        Box::pin(async move { hooks.forget(&live).await })
    })
}

fn report(readiness: &Readiness) -> io::Result<()> {
    spawn::answer(&serde_json::to_vec(readiness)?)
}

/// One daemon per home. The former one may be on its way out.
async fn lock(home: &Home) -> Result<FileLock, Failure> {
    let path = home.lock();
    match FileLock::acquire(&path) {
        Err(LockError::Held { .. }) => {}
        other => return Ok(other?),
    }
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let waiter = move || {
        let _gave_up = sender.send(FileLock::wait(&path));
    };
    std::thread::Builder::new()
        .name("daemon-lock".into())
        .spawn(waiter)
        .map_err(|error| Failure::internal(&error))?;
    match tokio::time::timeout(LOCK_TIMEOUT, receiver).await {
        Ok(Ok(lock)) => Ok(lock?),
        Ok(Err(_)) | Err(_) => {
            Err(Failure::new(Code::DaemonUnreachable, "another daemon holds the lock and does not answer")
                .hint("agentsup daemon stop; if it hangs, agentsup doctor names its process"))
        }
    }
}

fn end_on_signals(shutdown: &CancellationToken) -> Result<(), Failure> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        let mut signals = signal(kind).map_err(|error| Failure::internal(&error))?;
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            if signals.recv().await.is_some() {
                shutdown.cancel();
            }
        });
    }
    Ok(())
}

/// Listens where the daemon before this one did. If somebody else has the port now, another one will do, unless an agent
/// that knows only the old one is alive: it would talk to a stranger, so its model calls must fail instead.
async fn open_door(store: &Store) -> Result<(TcpListener, u16), Failure> {
    let known = store.read(|connection| meta::load(connection, PORT_KEY)).await?;
    let known = known.and_then(|text| text.parse::<u16>().ok());
    let failed =
        |error: io::Error| Failure::new(Code::Internal, format!("no loopback port can be opened: {error}"));
    let listener = match known.map(|port| (port, listen::on_port(port))) {
        Some((_, Ok(listener))) => listener,
        Some((port, Err(error))) => {
            let alive = store.read(runs::unfinished).await?.len();
            if alive > 0 {
                let message = format!(
                    "port {port} of 127.0.0.1 cannot be opened, and live runs ({alive}) know no other: {error}"
                );
                return Err(Failure::new(Code::DaemonUnreachable, message)
                    .hint(format!("end the program that listens there: ss -ltnp 'sport = :{port}'")));
            }
            listen::anywhere().map_err(failed)?
        }
        None => listen::anywhere().map_err(failed)?,
    };
    let port = listener.local_addr().map_err(failed)?.port();
    if known != Some(port) {
        store.write(move |tx| meta::set(tx, PORT_KEY, &port.to_string())).await?;
    }
    Ok((listener, port))
}

async fn note_start(app: &SharedApp, recovered: usize) -> Result<(), StoreError> {
    let snapshot = app.registry.current();
    let event = EventEntry::new("daemon-started", "the daemon started")
        .fact("version", env!("CARGO_PKG_VERSION"))
        .fact("manifests", hex::encode(snapshot.digest))
        .fact("registry", from_registry(&snapshot))
        .fact("calls_assumed_spent", recovered);
    app.gate.note(event).await.map(drop)
}

async fn tidy(runs: Runs) {
    if let Err(error) = reconcile::tidy_ended(&runs).await {
        tracing::warn!(%error, "worktrees of ended runs could not be looked at");
    }
}

/// Records when other manifests or policies come into force.
async fn tell_registry_changes(app: SharedApp) {
    let mut changes = app.registry.watch();
    let mut known = Arc::clone(&changes.borrow_and_update());
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = app.shutdown.cancelled() => return,
        }
        let snapshot = Arc::clone(&changes.borrow_and_update());
        for problem in &snapshot.problems {
            tracing::warn!(%problem, "the last good configuration stays in force");
        }
        if snapshot.digest != known.digest || from_registry(&snapshot) != from_registry(&known) {
            let event = in_force(&known, &snapshot);
            known = snapshot;
            if let Err(error) = app.gate.note(event).await {
                tracing::error!(%error, "loaded manifests could not be recorded");
            }
        }
    }
}

/// The commit that manifests come from, with its repository and branch; empty where they come from this machine only.
fn from_registry(snapshot: &Snapshot) -> String {
    snapshot.registry.as_ref().map_or_else(String::new, |in_force| {
        format!("{} of {} ({})", in_force.commit, in_force.source.git, in_force.source.branch)
    })
}

fn in_force(before: &Snapshot, now: &Snapshot) -> EventEntry {
    let (from, to) = (from_registry(before), from_registry(now));
    let (kind, text) = match &now.registry {
        _ if from == to => ("manifests-loaded", "other manifests or policies came into force".to_owned()),
        Some(in_force) => {
            let text = format!("the registry's commit {} came into force", short(&in_force.commit));
            ("registry-in-force", text)
        }
        None if !now.problems.is_empty() => {
            let text = "nothing is in force: what lies on this machine does not go with the registry";
            ("registry-held", text.to_owned())
        }
        None => {
            ("registry-left", "manifests come from this machine only, no registry counts any more".to_owned())
        }
    };
    EventEntry::new(kind, text)
        .fact("manifests", hex::encode(now.digest))
        .fact("registry", to)
        .fact("registry_before", from)
        .fact("agents", now.agents.len())
        .fact("budgets", now.budgets.len())
}

/// Shows alerts on the user's desktop, one after the other.
async fn tell_alerts(app: SharedApp) {
    let mut alerts = app.gate.alerts();
    loop {
        let alert = tokio::select! {
            alert = alerts.recv() => alert,
            () = app.shutdown.cancelled() => return,
        };
        let alert = match alert {
            Ok(alert) => alert,
            // They are on the record.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        if app.registry.current().config.desktop_notifications == Switch::Off {
            continue;
        }
        let title = format!("Budget {} is {} % spent", alert.budget, alert.at_percent);
        if let Err(error) = notification::show(&title, &alert.text).await {
            tracing::debug!(%error, "an alert was not shown on a desktop");
        }
    }
}

/// Tells on the user's desktop that a run waits for them: once, until nothing of it is open any more. What it would do
/// is for their eyes only and stays out.
async fn tell_questions(app: SharedApp) {
    let mut changes = app.gate.approvals().watch();
    let mut told = BTreeSet::new();
    loop {
        changes.mark_unchanged();
        let waiting = app.gate.approvals().waiting();
        let is_on = app.registry.current().config.desktop_notifications == Switch::On;
        for (run, (agent, target)) in waiting.iter().filter(|(run, _)| is_on && !told.contains(*run)) {
            let title = format!("{agent} waits for your answer");
            let text = format!("Run {} asks for {}: agentsup approvals", run.short(), visible(target));
            if let Err(error) = notification::show(&title, &text).await {
                tracing::debug!(%error, "a question was not shown on a desktop");
            }
        }
        told = waiting.into_keys().collect();
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = app.shutdown.cancelled() => return,
        }
    }
}

/// Erases what is kept beside records for longer than the configuration says, a little at a time.
async fn erase_old_facts(app: SharedApp) {
    let mut hours = tokio::time::interval(ERASE_EVERY);
    loop {
        tokio::select! {
            _ = hours.tick() => {}
            () = app.shutdown.cancelled() => return,
        }
        // What is erased is gone: not by an age that nobody has said.
        let Some(kept_ms) = app.registry.current().facts_kept_ms() else { continue };
        let before_ms = clock::now_ms().saturating_sub(kept_ms);
        loop {
            match app.store.write_soon(move |tx| facts::prune(tx, before_ms, ERASE_STEP)).await {
                Ok(true) if !app.shutdown.is_cancelled() => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(%error, "what was kept beside old records could not be erased");
                    break;
                }
            }
        }
    }
}

/// Ends runs on a subscription whose budgets are used up, those found at the start first.
async fn end_overspent(app: SharedApp) {
    let mut overspending = app.gate.overspending();
    for live in app.gate.live_runs() {
        if let Err(error) = app.gate.weigh(&live).await {
            tracing::error!(%error, run = %live.run.id, "a run's budgets could not be looked at");
        }
    }
    loop {
        overspending.mark_unchanged();
        stop::kill_overspent(&app.runs).await;
        tokio::select! {
            changed = overspending.changed() => if changed.is_err() { return },
            () = app.shutdown.cancelled() => return,
        }
    }
}

/// Ends a daemon that nobody needs: no run, no client for a while.
async fn end_when_idle(mut runs: watch::Receiver<usize>, activity: Activity, shutdown: CancellationToken) {
    let idle = Env::current()
        .text("AGENTSUP_IDLE_EXIT_MS")
        .and_then(|text| text.parse().ok())
        .map_or(IDLE, Duration::from_millis);
    loop {
        let nobody = tokio::select! {
            () = tokio::time::sleep_until(tokio::time::Instant::now() + idle) => true,
            () = activity.changed() => false,
            changed = runs.changed() => if changed.is_err() { return } else { false },
            () = shutdown.cancelled() => return,
        };
        if nobody && activity.connections() == 0 && *runs.borrow() == 0 {
            tracing::info!("nobody needs the daemon");
            shutdown.cancel();
            return;
        }
    }
}
