//! The open files of this process: raises their limit, counts them, and reserves some for connections that must not fail.
//!
//! Each connection is an open file. Without a reserve, connections of strangers could use up the limit. A broken connection to
//! the API server could then not be replaced, and the gateway would lose its Lease and all its sessions.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parking_lot::Mutex;

/// How old a count may be. Until the next count, the files of accepted connections are added to it.
const COUNT_MAX_AGE: Duration = Duration::from_millis(100);

/// The open files of this process.
///
/// They are global because all connections of the process share one limit.
pub static OPEN_FILES: LazyLock<OpenFiles> = LazyLock::new(|| {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    OpenFiles::new(usize::try_from(limit).unwrap_or(usize::MAX))
});

/// Raises the limit of open files to the highest that this process may set. Call it before the first use of [`OPEN_FILES`].
///
/// # Errors
/// When the kernel refuses.
pub fn raise_limit() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}

/// Counts the open files against their limit.
#[derive(Debug)]
pub struct OpenFiles {
    limit: usize,
    count: Mutex<Count>,
    /// The files that are about to be opened.
    reserved: AtomicUsize,
}

#[derive(Debug)]
struct Count {
    files: usize,
    counted: Option<Instant>,
}

/// A reservation that counts as one file until the file is open.
#[derive(Debug)]
pub struct ReservedFile<'a>(&'a OpenFiles);

impl OpenFiles {
    const fn new(limit: usize) -> Self {
        Self { limit, count: Mutex::new(Count { files: 0, counted: None }), reserved: AtomicUsize::new(0) }
    }

    /// Returns how many files this process may have open.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Returns how many files are open, or about to be.
    pub fn used(&self) -> usize {
        self.files(Instant::now()) + self.reserved.load(Ordering::Relaxed)
    }

    /// Returns whether a new session must be refused: 80 % of the files are open.
    pub fn are_scarce(&self) -> bool {
        self.used() >= self.limit / 5 * 4
    }

    /// Returns whether a new connection must be turned away: 90 % of the files are open. The rest is for connections to the
    /// API server and to Redis, for probes, and for recordings.
    pub fn are_nearly_used_up(&self) -> bool {
        self.used() >= self.limit / 10 * 9
    }

    /// Records that a connection was accepted.
    pub fn opened(&self) {
        self.count.lock().files += 1;
    }

    /// Reserves a file for a new connection; `None` if [`Self::are_nearly_used_up`].
    pub fn reserve(&self) -> Option<ReservedFile<'_>> {
        self.reserved.fetch_add(1, Ordering::Relaxed);
        let reserved = ReservedFile(self);
        // The new reservation is part of the count.
        (self.used() <= self.limit / 10 * 9).then_some(reserved)
    }

    fn files(&self, now: Instant) -> usize {
        let mut count = self.count.lock();
        if count.counted.is_none_or(|counted| now.saturating_duration_since(counted) >= COUNT_MAX_AGE) {
            // If the files cannot be counted, the last number stays.
            if let Ok(files) = count_files() {
                *count = Count { files, counted: Some(now) };
            }
        }
        count.files
    }
}

impl Drop for ReservedFile<'_> {
    fn drop(&mut self) {
        self.0.reserved.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts the open files. From Linux 6.2 on, the size of `/proc/self/fd` is their number. On older kernels the folder is
/// listed, which takes about 3 ms for 10,000 files.
fn count_files() -> io::Result<usize> {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER)?.len() {
        0 => Ok(fs::read_dir(FOLDER)?.count()),
        files => Ok(usize::try_from(files).unwrap_or(usize::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Returns open files whose count stays at `files`.
    fn with_open(files: usize, limit: usize) -> OpenFiles {
        let open = OpenFiles::new(limit);
        *open.count.lock() = Count { files, counted: Some(Instant::now() + Duration::from_hours(1)) };
        open
    }

    #[rstest]
    #[case::half(128, false, false)]
    #[case::below_80_percent(203, false, false)]
    #[case::at_80_percent(204, true, false)]
    #[case::below_90_percent(224, true, false)]
    #[case::at_90_percent(225, true, true)]
    #[case::none_left(256, true, true)]
    fn some_files_are_kept(#[case] files: usize, #[case] scarce: bool, #[case] nearly_used_up: bool) {
        let open = with_open(files, 256);
        assert_eq!((open.are_scarce(), open.are_nearly_used_up()), (scarce, nearly_used_up));
        assert_eq!(open.reserve().is_none(), nearly_used_up);
        assert_eq!(open.used(), files, "the reservation has ended");
    }

    #[test]
    fn accepted_connections_and_reservations_count_at_once() {
        let open = with_open(222, 256);
        open.opened();
        let reserved = (open.reserve(), open.reserve());
        assert!(reserved.0.is_some() && reserved.1.is_some() && open.reserve().is_none());
        assert!(open.are_nearly_used_up());
        drop(reserved);
        assert!(!open.are_nearly_used_up());
    }

    #[test]
    fn open_files_are_counted() {
        let before = count_files().unwrap();
        let held: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close files too.
        assert!(count_files().unwrap() >= before + 50, "{} files more", held.len());
    }
}
