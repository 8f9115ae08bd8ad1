//! The registry as it lives: watches the files, loads them anew when they change, keeps the last good set in force.
//!
//! One thread does all loading. It is told that something changed by a queue of one: more changes while it is busy
//! are one more load. Editors write in bursts, so it waits until the files are quiet, at most a second.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::watch;

use crate::core::policy::{Pack, PolicySet};
use crate::core::problem::Problem;
use crate::sys::paths::{CONFIG_NAME, Home, MANIFESTS_NAME, PRICES_NAME};

use super::config::{Config, McpServerConfig, ProviderConfig};
use super::followed::{Followed, Watched};
use super::init::{DEMO_AGENT, Draft};
use super::load::{Machine, acs_file, assemble, load, load_config, load_other, load_with};
use super::remote::kept::{self, Look};
use super::source::Source;
use super::{Acs, NOTHING, RegistryError, Snapshot};

/// The most looks at the files of an ACS manifest that leads to others each time; the next change is the next look.
const ACS_LOOKS: usize = 4;
/// How long files must be quiet before they are read.
const QUIET: Duration = Duration::from_millis(50);
/// The most times that waiting for quiet is prolonged.
const MAX_WAITS: u32 = 20;

/// The registry: a cheap clone. The watching ends with the last of them.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    home: Home,
    current: watch::Sender<Arc<Snapshot>>,
    /// Held while loading, so that an older look at the files never replaces a newer one.
    loading: Mutex<()>,
    watcher: Mutex<Option<RecommendedWatcher>>,
    followed: Followed,
    /// What lay on this machine when all of it was good.
    good: Mutex<Option<Machine>>,
    demo: OnceLock<Demo>,
}

/// The demo's own model and MCP server, which are part of this program.
#[derive(Debug, Clone)]
pub struct Demo {
    /// Its provider's and its server's name.
    pub name: &'static str,
    /// The model.
    pub provider: ProviderConfig,
    /// The server.
    pub server: McpServerConfig,
}

impl Registry {
    /// Loads everything and watches the files from then on. Problems with the files are in the snapshot; an error here
    /// means that changes will not be noticed, which must be known.
    pub fn start(home: &Home) -> Result<Self, RegistryError> {
        let inner = Arc::new(Inner {
            home: home.clone(),
            current: watch::channel(Arc::new(nothing(Vec::new()))).0,
            loading: Mutex::new(()),
            watcher: Mutex::new(None),
            followed: Followed::default(),
            good: Mutex::new(None),
            demo: OnceLock::new(),
        });
        let registry = Self { inner };
        let (tell, told) = sync_channel(1);
        registry.inner.start_watching(tell)?;
        registry.reload();
        let weak = Arc::downgrade(&registry.inner);
        let follow = move || {
            while wait_for_quiet(&told) {
                let Some(inner) = weak.upgrade() else { return };
                inner.reload();
            }
        };
        let spawned = thread::Builder::new().name("registry".into()).spawn(follow);
        spawned.map_err(|error| RegistryError::Watch(error.to_string()))?;
        Ok(registry)
    }

    /// What the files say now, whoever else follows them; nothing of it is in force. Blocks on the file system.
    pub fn read(home: &Home) -> Snapshot {
        load(home)
    }

    /// As [`Registry::read`], as if the manifests lay elsewhere or another pack were chosen.
    pub fn read_other(home: &Home, root: Option<&Path>, pack: Option<Pack>) -> Snapshot {
        load_other(home, root, pack)
    }

    /// As [`Registry::read`], as if one more file were there.
    pub fn read_with(home: &Home, draft: &Draft) -> Snapshot {
        load_with(home, Some((&draft.path, &draft.text)))
    }

    /// The configuration as its file says it now, whether or not a set with it can come into force; as it is in force
    /// where the file has problems. Blocks on the file system.
    pub fn configured(&self) -> Config {
        let mut problems = Vec::new();
        let config = load_config(&self.inner.home, &mut problems);
        if problems.is_empty() { config } else { self.current().config.clone() }
    }

    /// How the last look at a registry in git ended, if there was one. Blocks on the file system.
    pub fn last_look(home: &Home, source: &Source) -> Option<Look> {
        kept::last_look(home, source)
    }

    /// Whether what is kept of a registry in git is another commit than the one in force. Blocks on the file system.
    pub fn is_behind(&self, source: &Source) -> bool {
        let in_force = self.current().registry.as_ref().map(|in_force| in_force.commit.clone());
        kept::commit(&self.inner.home, source) != in_force
    }

    /// The given set is in force; for tests of what stands above the registry.
    #[cfg(test)]
    pub(crate) fn fixed(snapshot: Snapshot) -> Self {
        let inner = Inner {
            home: Home::rooted(std::path::Path::new("/nonexistent")),
            current: watch::channel(Arc::new(snapshot)).0,
            loading: Mutex::new(()),
            watcher: Mutex::new(None),
            followed: Followed::default(),
            good: Mutex::new(None),
            demo: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Another set comes into force.
    #[cfg(test)]
    pub(crate) fn replace(&self, snapshot: Snapshot) {
        self.inner.current.send_replace(Arc::new(snapshot));
    }

    /// Offers the demo's parts, which come into force where its manifest is registered. Only the first offer counts.
    pub fn offer_demo(&self, demo: Demo) {
        if self.inner.demo.set(demo).is_ok() {
            self.inner.reload();
        }
    }

    /// What is in force now.
    pub fn current(&self) -> Arc<Snapshot> {
        self.inner.current.borrow().clone()
    }

    /// Follows what is in force; it also changes when only the problems do.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.inner.current.subscribe()
    }

    /// Reads the files now, without waiting to be told that they changed. Blocks on the file system.
    pub fn reload(&self) -> Arc<Snapshot> {
        self.inner.reload();
        self.current()
    }
}

impl Inner {
    fn reload(&self) {
        let _guard = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        // First watch, then look: what changes in between is told.
        self.watch_manifests();
        let look = || {
            let machine = Machine::read(&self.home);
            let loaded = assemble(&machine, machine.remote(&self.home).as_ref());
            (machine, loaded)
        };
        let (mut machine, mut loaded) = look();
        // Here what to watch is known only from a look.
        for _ in 0..ACS_LOOKS {
            if self.follow_acs(&loaded) == Watched::Before {
                break;
            }
            (machine, loaded) = look();
        }
        let good = self.best(machine, &loaded);
        self.current.send_if_modified(|current| {
            // The last good set stays in force, whole; before there was one, nothing is.
            let next = good.unwrap_or_else(|| (**current).clone());
            let next = Snapshot { problems: loaded.problems, ..next };
            let changed = next.digest != current.digest
                || next.config != current.config
                || next.problems != current.problems;
            if changed {
                *current = Arc::new(next);
            }
            changed
        });
    }

    /// The set that comes into force. A file of this machine that has a problem does not keep what the registry says from
    /// coming into force: beside it stands what lay here when it was good, and if that does not go with it, or nothing was
    /// good since the start, only the user's own policies. Where those do not go with it either, nothing is in force.
    fn best(&self, machine: Machine, loaded: &Snapshot) -> Option<Snapshot> {
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        let mut best = if loaded.problems.is_empty() {
            *good = Some(machine);
            loaded.clone()
        } else {
            let last = good.as_ref().unwrap_or(&machine);
            let remote = Some(last.remote(&self.home)?);
            let with = |machine: &Machine| assemble(machine, remote.as_ref());
            let found = [with(last), with(&last.own_policies())];
            match found.into_iter().find(|set| set.problems.is_empty()) {
                Some(set) => set,
                // Neither does a user's file hold up what the registry says, nor the registry loosen what the user says.
                None if remote.as_ref().is_some_and(|remote| remote.kept.is_some()) => nothing(Vec::new()),
                None => return None,
            }
        };
        self.add_demo(&mut best);
        Some(best)
    }

    /// What the configuration says under the same name wins.
    fn add_demo(&self, loaded: &mut Snapshot) {
        let Some(demo) = self.demo.get() else { return };
        if loaded.agents.iter().any(|agent| agent.reference.to_string() == DEMO_AGENT) {
            let name = || demo.name.to_owned();
            loaded.config.providers.entry(name()).or_insert_with(|| demo.provider.clone());
            loaded.config.mcp_servers.entry(name()).or_insert_with(|| demo.server.clone());
        }
    }

    fn start_watching(&self, tell: SyncSender<()>) -> Result<(), RegistryError> {
        let config = self.home.config_file();
        let dir = config.parent().unwrap_or(&config).to_owned();
        // Some systems tell of real paths only.
        let real = dir.canonicalize().unwrap_or_else(|_| dir.clone());
        let ours =
            [&dir, &real].map(|dir| [CONFIG_NAME, PRICES_NAME, MANIFESTS_NAME].map(|name| dir.join(name)));
        let followed = self.followed.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if concerns(&event, &ours, &followed) {
                // A full queue means that a load is due anyway.
                let _ = tell.try_send(());
            }
        })
        .map_err(|error| RegistryError::Watch(error.to_string()))?;
        watcher
            .watch(&dir, RecursiveMode::NonRecursive)
            .map_err(|error| RegistryError::Watch(error.to_string()))?;
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher);
        Ok(())
    }

    /// Follows what the ACS manifest is made of; where it has problems, what was in force and the manifest itself.
    fn follow_acs(&self, loaded: &Snapshot) -> Watched {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watcher) = watcher.as_mut() else { return Watched::Before };
        let current = self.current.borrow().clone();
        let in_force = loaded.acs.as_ref().or(current.acs.as_ref());
        let mut files: BTreeSet<PathBuf> = BTreeSet::new();
        if let Some(manifest) = acs_file(&self.home, &loaded.config) {
            files.extend(in_force.into_iter().flat_map(Acs::files).cloned());
            files.insert(manifest);
        }
        let config = self.home.config_file();
        self.followed.set(files, config.parent().unwrap_or(&config), watcher)
    }

    /// Watches the manifests directory, which may have come, gone or been replaced since the last look; so may have what
    /// else is followed.
    fn watch_manifests(&self) {
        let dir = self.home.manifests_dir();
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watcher) = watcher.as_mut() else { return };
        let _ = watcher.unwatch(&dir);
        if dir.is_dir()
            && let Err(error) = watcher.watch(&dir, RecursiveMode::Recursive)
        {
            tracing::warn!(%error, "manifests are not watched");
        }
        self.followed.again(watcher);
    }
}

/// No agents, no policies: what is in force before anything good was read.
fn nothing(problems: Vec<Problem>) -> Snapshot {
    Snapshot {
        config: Config::default(),
        agents: Vec::new(),
        budgets: Vec::new(),
        policies: PolicySet::default(),
        acs: None,
        origins: BTreeMap::new(),
        digest: NOTHING,
        registry: None,
        problems,
    }
}

/// Whether an event may mean other content. Errors may mean lost events, so they count.
fn concerns(event: &notify::Result<notify::Event>, ours: &[[PathBuf; 3]], followed: &Followed) -> bool {
    let Ok(event) = event else { return true };
    // Below the two files there is nothing.
    let ours = |path: &PathBuf| ours.iter().flatten().any(|one| path.starts_with(one)) || followed.has(path);
    !matches!(event.kind, EventKind::Access(_)) && (event.paths.is_empty() || event.paths.iter().any(ours))
}

/// Waits for a change and then for quiet. False when the registry is gone.
fn wait_for_quiet(told: &Receiver<()>) -> bool {
    if told.recv().is_err() {
        return false;
    }
    for _ in 0..MAX_WAITS {
        match told.recv_timeout(QUIET) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}
