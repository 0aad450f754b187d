//! The memory that sessions may take: for data that waits in the process, and for channels.
//!
//! A peer decides how much data it sends within its window, and how many channels it opens. So a window larger than the
//! smallest, and each channel of a session after its first, need room in the budget. Without room, windows stay small and
//! further channels are refused. A session ends only if a peer queues many control messages then.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory budget of this process.
///
/// It is global because the memory is: every channel of every connection takes from the same.
pub static MEMORY_BUDGET: MemoryBudget = MemoryBudget::new(usize::MAX);

/// The share of the available memory that is the default budget. The rest is for the program itself, the objects that it
/// watches, connections that are not signed in, and its HTTP servers.
const DEFAULT_SHARE: (usize, usize) = (3, 4);

/// A budget in bytes, and how much of it is taken.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: AtomicUsize,
    taken: AtomicUsize,
}

/// Bytes that are taken from a budget until this value is dropped.
#[derive(Debug)]
pub struct Charge {
    budget: &'static MemoryBudget,
    bytes: usize,
}

impl MemoryBudget {
    /// Creates a budget of this many bytes.
    pub const fn new(limit: usize) -> Self {
        Self { limit: AtomicUsize::new(limit), taken: AtomicUsize::new(0) }
    }

    /// Sets the size of the budget, in bytes. What is taken stays taken.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Returns the size of the budget, in bytes.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Returns how many bytes are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Returns how many bytes are not taken.
    pub fn free(&self) -> usize {
        self.limit().saturating_sub(self.taken())
    }

    /// Takes bytes, even beyond the limit. It is for what a session cannot do without, and other limits bound.
    pub fn take(&'static self, bytes: usize) -> Charge {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        Charge { budget: self, bytes }
    }

    /// Takes bytes if they are free.
    pub fn try_take(&'static self, bytes: usize) -> Option<Charge> {
        let mut charge = self.take(0);
        charge.try_grow(bytes).then_some(charge)
    }
}

impl Charge {
    /// Takes more bytes if they are free. Returns whether they were.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let limit = self.budget.limit();
        let fits = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= limit);
        let grown = self.budget.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Gives bytes back, at most all.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.taken.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns how many bytes are taken.
    #[cfg(test)]
    const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Returns the default budget: three quarters of the memory limit of this process's cgroup, or of the machine's memory where no
/// cgroup has a lower limit. Without either, there is no limit.
pub fn default_limit() -> usize {
    let limits = cgroup_limits(Path::new("/"));
    let available = limits.into_iter().chain(machine_memory(Path::new("/"))).min().unwrap_or(usize::MAX);
    let (part, whole) = DEFAULT_SHARE;
    available / whole * part
}

/// Returns the memory limits of this process's cgroup and of those above it, in bytes, in version 1 or 2 (cgroups(7)).
fn cgroup_limits(root: &Path) -> Vec<usize> {
    let own = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut limits = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            controllers if controllers.split(',').any(|it| it == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // In a container, the mount may begin at the container's own cgroup. Its limit is then at the root of the mount.
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let limit = fs::read_to_string(root.join(mount).join(group).join(file));
            limits.extend(limit.ok().and_then(|text| text.trim().parse::<usize>().ok()));
        }
    }
    limits
}

/// Returns the machine's memory in bytes.
fn machine_memory(root: &Path) -> Option<usize> {
    let memory = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn budget(bytes: usize) -> &'static MemoryBudget {
        Box::leak(Box::new(MemoryBudget::new(bytes)))
    }

    #[test]
    fn a_charge_takes_what_is_free_and_gives_it_back() {
        let budget = budget(100);
        let mut one = budget.try_take(60).unwrap();
        assert!(budget.try_take(41).is_none());
        assert!(!one.try_grow(41));
        assert!(one.try_grow(40));
        assert_eq!((budget.free(), one.bytes()), (0, 100));
        one.shrink(30);
        assert_eq!(budget.taken(), 70);
        one.shrink(1000);
        assert_eq!((budget.taken(), one.bytes()), (0, 0));
        drop(one);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn what_must_be_taken_is_taken_beyond_the_limit() {
        let budget = budget(100);
        let charge = budget.take(150);
        assert_eq!((budget.free(), budget.taken()), (0, 150));
        assert!(budget.try_take(1).is_none());
        drop(charge);
        assert_eq!(budget.free(), 100);
    }

    #[rstest]
    #[case::version_2("0::/a/b\n", &[("sys/fs/cgroup/a/b/memory.max", "max\n"), ("sys/fs/cgroup/a/memory.max", "1000\n")], &[1000])]
    #[case::in_a_container("0::/\n", &[("sys/fs/cgroup/memory.max", "2000\n")], &[2000])]
    #[case::version_1("5:cpu:/x\n4:hugetlb,memory:/a\n", &[("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "3000\n"), ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")], &[3000, 9_223_372_036_854_771_712])]
    #[case::mounted_at_the_own_cgroup("4:memory:/pods/x\n", &[("sys/fs/cgroup/memory/memory.limit_in_bytes", "4000\n")], &[4000])]
    #[case::none("", &[], &[])]
    fn limits_of_cgroups_are_found(#[case] own: &str, #[case] files: &[(&str, &str)], #[case] expected: &[usize]) {
        let root =
            std::env::temp_dir().join(format!("bastion-cgroup-{}-{:x}", std::process::id(), rand::random::<u64>()));
        for (file, text) in
            files.iter().copied().chain([("proc/self/cgroup", own), ("proc/meminfo", "MemTotal:  8 kB\n")])
        {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        assert_eq!(cgroup_limits(&root), expected);
        assert_eq!(machine_memory(&root), Some(8192));
        fs::remove_dir_all(&root).unwrap();
    }
}
