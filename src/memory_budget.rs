//! The memory that sessions may take: for data that waits in the process, and for channels.
//!
//! A peer decides how much data it sends within its window, and how many channels it opens. So a window larger than the
//! smallest, each channel of a session after its first, and long requests need room in the budget. Without room, windows stay
//! small, and further channels and long requests are refused. No session ends.
//!
//! Memory is taken for a user, over all sessions of the user. A user may take more while at least three times the user's total
//! stays free. So the first user may take a quarter of the budget, the next a quarter of the rest, and so on, and room for another
//! user remains.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The memory budget of this process.
///
/// It is global because the memory is: every channel of every connection takes from the same.
pub static MEMORY_BUDGET: MemoryBudget = MemoryBudget::new(usize::MAX);

/// The share of the available memory that is the default budget. The rest is for the program itself, the objects that it
/// watches, connections that are not signed in, and its HTTP servers.
const DEFAULT_SHARE: (usize, usize) = (3, 4);
/// The free memory that must remain for each byte that a user has taken, in bytes.
const FREE_PER_TAKEN: usize = 3;

/// A budget in bytes, and how much of it is taken.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: AtomicUsize,
    taken: AtomicUsize,
    /// The users who have taken something, by name.
    users: Mutex<BTreeMap<Arc<str>, Weak<UserBudget>>>,
}

/// What one user has taken of a budget. All sessions of the user share it.
#[derive(Debug)]
pub struct UserBudget {
    budget: &'static MemoryBudget,
    user: Arc<str>,
    taken: AtomicUsize,
}

/// Bytes that are taken for a user until this value is dropped.
#[derive(Debug)]
pub struct Charge {
    user: Arc<UserBudget>,
    bytes: usize,
}

impl MemoryBudget {
    /// Creates a budget of this many bytes.
    pub const fn new(limit: usize) -> Self {
        let users = Mutex::new(BTreeMap::new());
        Self { limit: AtomicUsize::new(limit), taken: AtomicUsize::new(0), users }
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

    /// Returns the part of the user of this name.
    pub fn of_user(&'static self, name: &str) -> Arc<UserBudget> {
        let mut users = self.users.lock();
        if let Some(user) = users.get(name).and_then(Weak::upgrade) {
            return user;
        }
        let name: Arc<str> = name.into();
        let user = Arc::new(UserBudget { budget: self, user: name.clone(), taken: AtomicUsize::new(0) });
        users.insert(name, Arc::downgrade(&user));
        user
    }
}

impl UserBudget {
    /// Takes bytes, even beyond what the user may take. It is for what a session cannot do without, and other limits bound.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Charge {
        self.budget.taken.fetch_add(bytes, Ordering::Relaxed);
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        Charge { user: self.clone(), bytes }
    }

    /// Takes bytes if the user may take them.
    pub fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let mut charge = self.take(0);
        charge.try_grow(bytes).then_some(charge)
    }
}

impl Drop for UserBudget {
    fn drop(&mut self) {
        let mut users = self.budget.users.lock();
        // The user may have signed in again meanwhile.
        if users.get(&self.user).is_some_and(|user| user.strong_count() == 0) {
            users.remove(&self.user);
        }
    }
}

impl Charge {
    /// Takes more bytes if the user may take them. Returns whether they were taken.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let UserBudget { budget, taken, .. } = &*self.user;
        // Taken before the check, so that concurrent calls of one user cannot both take the last bytes.
        let own = taken.fetch_add(bytes, Ordering::Relaxed);
        let fits = |all: usize| (bytes <= allowance(budget.limit(), all, own)).then(|| all + bytes);
        let grown = budget.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if grown {
            self.bytes += bytes;
        } else {
            taken.fetch_sub(bytes, Ordering::Relaxed);
        }
        grown
    }

    /// Gives bytes back, at most all.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.user.budget.taken.fetch_sub(bytes, Ordering::Relaxed);
        self.user.taken.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns how many bytes more its user may take now.
    pub fn allowance(&self) -> usize {
        let UserBudget { budget, taken, .. } = &*self.user;
        allowance(budget.limit(), budget.taken(), taken.load(Ordering::Relaxed))
    }

    /// Returns how many bytes are taken.
    #[cfg(test)]
    const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

/// Returns how many more bytes a user may take. The user has taken `own` bytes, and all users together `all` of `limit`. After
/// that, [`FREE_PER_TAKEN`] times the user's total stays free.
const fn allowance(limit: usize, all: usize, own: usize) -> usize {
    limit.saturating_sub(all).saturating_sub(own.saturating_mul(FREE_PER_TAKEN)) / (FREE_PER_TAKEN + 1)
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
    fn a_charge_takes_what_its_user_may_take_and_gives_it_back() {
        let budget = budget(400);
        let alice = budget.of_user("alice");
        let mut one = alice.try_take(60).unwrap();
        assert!(alice.try_take(41).is_none());
        assert!(!one.try_grow(41));
        assert!(one.try_grow(40));
        assert_eq!((budget.taken(), one.bytes(), one.allowance()), (100, 100, 0));
        one.shrink(30);
        assert_eq!((budget.taken(), one.allowance()), (70, 30));
        one.shrink(1000);
        assert_eq!((budget.taken(), one.bytes()), (0, 0));
        drop(one);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn what_must_be_taken_is_taken_beyond_the_limit() {
        let budget = budget(100);
        let (alice, bob) = (budget.of_user("alice"), budget.of_user("bob"));
        let charge = alice.take(150);
        assert_eq!(budget.taken(), 150);
        assert!(alice.try_take(1).is_none());
        assert!(bob.try_take(1).is_none());
        drop(charge);
        assert_eq!(budget.taken(), 0);
        assert!(bob.try_take(25).is_some());
    }

    #[test]
    fn users_who_take_all_they_can_leave_room_for_another() {
        let budget = budget(1_000_000);
        let (mut held, mut rest) = (Vec::new(), budget.limit());
        for number in 0..20 {
            let next = budget.of_user("next").take(0).allowance();
            assert_eq!(next, rest / 4, "after {number} users");
            let user = budget.of_user(&number.to_string());
            while let Some(charge) = user.try_take(1) {
                held.push(charge);
            }
            rest -= next;
            assert_eq!(budget.taken(), budget.limit() - rest);
        }
        assert!(budget.of_user("0").try_take(1).is_none(), "the first may still take no more");
    }

    #[test]
    fn all_sessions_of_a_user_share_and_a_user_without_a_session_is_forgotten() {
        let budget = budget(400);
        let (one, two) = (budget.of_user("alice"), budget.of_user("alice"));
        let charge = one.try_take(100).unwrap();
        assert!(two.try_take(1).is_none());
        drop((one, two));
        assert!(budget.of_user("alice").try_take(1).is_none(), "the charge is still there");
        drop(charge);
        assert!(budget.users.lock().is_empty());
        assert!(budget.of_user("alice").try_take(100).is_some());
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
