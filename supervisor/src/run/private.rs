//! What an adapter prepares, put into the run's directory: for the user's own eyes, and never over something else.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::agents::PrivateFile;

/// Writes a file of the run's directory, mode 0600, never over another one.
pub(super) fn write(dir: &Path, file: &PrivateFile) -> io::Result<()> {
    let path = dir.join(&file.path);
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut open = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    open.write_all(file.content.as_bytes())
}

/// Makes a link in the run's directory, never over something else.
pub(super) fn link(dir: &Path, path: &Path, target: &Path) -> io::Result<()> {
    let path = dir.join(path);
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    std::os::unix::fs::symlink(target, path)
}
