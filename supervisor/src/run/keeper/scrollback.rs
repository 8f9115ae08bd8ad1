//! The newest output of an agent, on disk: two files that take turns.
//!
//! Bytes go to `scrollback`; when that holds half of the allowance it becomes `scrollback.1`, replacing the older
//! half. So at least half of the allowance and at most all of it is kept, and nothing is ever copied. Every byte has
//! an offset counted from the start of the run, so that a reader can go on where it was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The newer half.
pub const SCROLLBACK: &str = "scrollback";
/// The older half.
pub const SCROLLBACK_OLD: &str = "scrollback.1";

/// Less than a screenful would be of no use.
const HALF_MIN: u64 = 4 * 1024;

/// How often a reader looks again when the files took turns under its eyes.
const READ_TRIES: usize = 8;

/// The writer, with its own way of reading back.
#[derive(Debug)]
pub(super) struct Scrollback {
    dir: PathBuf,
    half: u64,
    new: Half,
    old: Option<Half>,
}

#[derive(Debug)]
struct Half {
    file: File,
    /// The offset of its first byte.
    start: u64,
    length: u64,
}

impl Scrollback {
    /// Begins an empty scrollback of at most `max_bytes` in `dir`.
    pub(super) fn create(dir: &Path, max_bytes: u64) -> io::Result<Self> {
        match fs::remove_file(dir.join(SCROLLBACK_OLD)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let new = Half { file: open(dir)?, start: 0, length: 0 };
        Ok(Self { dir: dir.to_owned(), half: (max_bytes / 2).max(HALF_MIN), new, old: None })
    }

    /// The offset after the last byte.
    pub(super) fn end(&self) -> u64 {
        self.new.start + self.new.length
    }

    /// The offset of the oldest byte that is kept.
    pub(super) fn start(&self) -> u64 {
        self.old.as_ref().unwrap_or(&self.new).start
    }

    /// Adds bytes at the end. After an error the offsets still count on and the bytes are not kept.
    pub(super) fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut outcome = Ok(());
        while !bytes.is_empty() {
            if self.new.length >= self.half
                && let Err(error) = self.turn()
            {
                self.new.length += bytes.len() as u64;
                return Err(error);
            }
            let room = usize::try_from(self.half - self.new.length).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            outcome = outcome.and(self.new.file.write_all_at(now, self.new.length));
            self.new.length += now.len() as u64;
            bytes = later;
        }
        outcome
    }

    /// Reads at `offset` into `into`; the number of bytes read is zero only at the end.
    pub(super) fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let half = match &self.old {
            Some(old) if offset < self.new.start => old,
            _ => &self.new,
        };
        let within = offset.saturating_sub(half.start);
        let left = usize::try_from(half.length.saturating_sub(within)).unwrap_or(usize::MAX);
        let room = into.len().min(left);
        half.file.read_at(&mut into[..room], within)
    }

    fn turn(&mut self) -> io::Result<()> {
        fs::rename(self.dir.join(SCROLLBACK), self.dir.join(SCROLLBACK_OLD))?;
        let next = Half { file: open(&self.dir)?, start: self.end(), length: 0 };
        self.old = Some(std::mem::replace(&mut self.new, next));
        Ok(())
    }
}

fn open(dir: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(dir.join(SCROLLBACK))
}

/// The newest output of the run in `dir`, oldest byte first, at most `max_bytes`; for anybody who may read the
/// directory, whether the keeper still lives or not. Empty if there never was any.
///
/// While the run writes faster than it is read, the older half may be missing; there is never a gap.
pub fn read_scrollback(dir: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut halves = (None, None);
    for _ in 0..READ_TRIES {
        let new = open_existing(&dir.join(SCROLLBACK))?;
        let old = open_existing(&dir.join(SCROLLBACK_OLD))?;
        let (new_id, old_id) = (inode(new.as_ref())?, inode(old.as_ref())?);
        // The newer half is missing for a moment, or has just become the older one: that one is all there is.
        if new_id.is_none() || new_id == old_id {
            halves = (old, None);
            break;
        }
        // Only if the newer half is still the newer one is the other the half before it.
        if inode(open_existing(&dir.join(SCROLLBACK))?.as_ref())? == new_id {
            halves = (old, new);
            break;
        }
        halves = (None, new);
    }
    let (old, new) = halves;
    let newer = tail(new, max_bytes)?;
    let mut bytes = tail(old, max_bytes.saturating_sub(newer.len() as u64))?;
    bytes.extend_from_slice(&newer);
    Ok(bytes)
}

fn inode(half: Option<&File>) -> io::Result<Option<u64>> {
    half.map(|half| half.metadata().map(|meta| meta.ino())).transpose()
}

fn tail(half: Option<File>, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut half) = half {
        let length = half.metadata()?.len();
        half.seek(SeekFrom::Start(length.saturating_sub(max_bytes)))?;
        half.take(max_bytes).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn open_existing(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(scrollback: &Scrollback, offset: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut piece = [0; 700];
        loop {
            let count = scrollback.read_at(offset + bytes.len() as u64, &mut piece).unwrap();
            if count == 0 {
                return bytes;
            }
            bytes.extend_from_slice(&piece[..count]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_kept_is_the_newest_end_of_what_was_written(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..20),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut scrollback = Scrollback::create(dir.path(), 8192).unwrap();
            let mut all = Vec::new();
            for piece in &pieces {
                scrollback.append(piece).unwrap();
                all.extend_from_slice(piece);
            }
            let start = usize::try_from(scrollback.start()).unwrap();
            prop_assert_eq!(scrollback.end(), all.len() as u64);
            prop_assert!(all.len() - start <= 8192);
            prop_assert!(start == 0 || all.len() - start >= 4096);
            prop_assert_eq!(at(&scrollback, scrollback.start()), &all[start..]);
            prop_assert_eq!(read_scrollback(dir.path(), u64::MAX).unwrap(), &all[start..]);
            let newest = all.len().saturating_sub(1000).max(start);
            prop_assert_eq!(read_scrollback(dir.path(), 1000).unwrap(), &all[newest..]);
        }
    }

    #[test]
    fn reading_beside_a_fast_writer_gives_a_piece_without_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let mut scrollback = Scrollback::create(dir.path(), 8192).unwrap();
        let reader = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut reads = 0;
                for _ in 0..3000 {
                    let bytes = read_scrollback(dir.path(), u64::MAX).unwrap();
                    // Not the first number, which may be cut.
                    let numbers: Vec<u64> = String::from_utf8(bytes)
                        .unwrap()
                        .split_inclusive('\n')
                        .skip(1)
                        .filter(|line| line.ends_with('\n'))
                        .map(|line| line.trim().parse().unwrap())
                        .collect();
                    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
                    reads += usize::from(!numbers.is_empty());
                }
                reads
            });
            let mut n = 0u64;
            while !reader.is_finished() {
                scrollback.append(format!("{n}\n").as_bytes()).unwrap();
                n += 1;
            }
            reader.join().unwrap()
        });
        assert!(reader > 100, "{reader}");
    }

    #[test]
    fn a_run_without_output_has_an_empty_scrollback() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_scrollback(dir.path(), 10).unwrap(), b"");
    }
}
