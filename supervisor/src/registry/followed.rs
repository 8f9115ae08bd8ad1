//! Which files beside our own are followed: those of the ACS manifest, wherever it lies.
//!
//! Directories are watched flat, each by itself; in the configuration's own directory, which is watched anyway and where
//! much else may lie, only the files themselves count. Where a directory is not there, the nearest above it is watched
//! until it comes. What lies among the manifests is watched with them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::sys::paths::MANIFESTS_NAME;

/// What is followed: a cheap clone.
#[derive(Clone, Default)]
pub(super) struct Followed(Arc<Mutex<Paths>>);

#[derive(Default)]
struct Paths {
    files: BTreeSet<PathBuf>,
    /// Where they lie: whatever happens there counts.
    dirs: BTreeSet<PathBuf>,
    watched: BTreeSet<PathBuf>,
}

/// Whether everything was watched before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// It was, so that every change since was told.
    Before,
    /// Not all of it.
    Newly,
}

impl Followed {
    /// Follows exactly these files from now on. `home` and the manifests are watched by somebody else.
    pub(super) fn set(
        &self,
        files: BTreeSet<PathBuf>,
        home: &Path,
        watcher: &mut RecommendedWatcher,
    ) -> Watched {
        let real = home.canonicalize().unwrap_or_else(|_| home.to_owned());
        let is_home = |dir: &Path| dir == home || dir == real;
        // Watching them flat would end that they are watched with all that is below.
        let is_manifests =
            |dir: &Path| [home, &real].iter().any(|home| dir.starts_with(home.join(MANIFESTS_NAME)));
        let parents = files.iter().filter_map(|file| file.parent()).filter(|dir| !is_home(dir));
        let dirs: BTreeSet<PathBuf> = parents.map(Path::to_owned).collect();
        let nearest = dirs.iter().filter_map(|dir| dir.ancestors().find(|dir| dir.is_dir()));
        let watched = nearest.filter(|dir| !is_home(dir) && !is_manifests(dir));
        let watched: BTreeSet<PathBuf> = watched.map(Path::to_owned).collect();
        let before = {
            let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *paths, Paths { files, dirs, watched: watched.clone() }).watched
        };
        // Not under the lock: whoever tells of a change asks for it, and watching waits for him.
        for gone in before.difference(&watched) {
            let _ = watcher.unwatch(gone);
        }
        for new in watched.difference(&before) {
            if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!(%error, "a directory of the ACS manifest is not watched");
            }
        }
        if watched.is_subset(&before) { Watched::Before } else { Watched::Newly }
    }

    /// Watches again what is watched: a directory may have been replaced by another of its name.
    pub(super) fn again(&self, watcher: &mut RecommendedWatcher) {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner).watched.clone();
        for dir in watched.iter().filter(|dir| dir.is_dir()) {
            let _ = watcher.watch(dir, RecursiveMode::NonRecursive);
        }
    }

    /// Whether a path belongs to what is followed, or leads to it.
    pub(super) fn has(&self, path: &Path) -> bool {
        let paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        path.parent().is_some_and(|dir| paths.dirs.contains(dir))
            || paths.files.iter().any(|file| file.starts_with(path))
    }
}
