//! A memory cgroup, in which the kernel kills what takes too much memory, as in a container.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::unique;

/// A memory cgroup of its own, of version 1 or 2.
pub struct MemoryCgroup {
    dir: PathBuf,
    version: Version,
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

impl MemoryCgroup {
    /// Makes one; `None` where this takes other rights or another kernel.
    pub fn new() -> Option<Self> {
        let name = format!("bastion-test-{}-{}", std::process::id(), unique());
        let one = (Path::new("/sys/fs/cgroup/memory"), Version::One, "memory.limit_in_bytes");
        let two = (Path::new("/sys/fs/cgroup"), Version::Two, "memory.max");
        [one, two].into_iter().find_map(|(root, version, limit)| {
            let made = Self { dir: root.join(&name), version };
            fs::create_dir(&made.dir).ok()?;
            // A folder of version 2 has this file only if its parent distributes memory.
            made.dir.join(limit).exists().then_some(made)
        })
    }

    /// What starts a program in it.
    pub fn starter(&self) -> Vec<String> {
        let join = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.dir.display());
        ["sh", "-c", &join, "sh"].map(str::to_owned).to_vec()
    }

    /// Limits it to the memory that it uses now and this many bytes more.
    pub fn limit_to_use_and(&self, more: u64) {
        let (used, limit) = match self.version {
            Version::One => ("memory.usage_in_bytes", "memory.limit_in_bytes"),
            Version::Two => ("memory.current", "memory.max"),
        };
        let used: u64 = self.read(used).trim().parse().expect("a number");
        fs::write(self.dir.join(limit), (used + more).to_string()).expect("a limit");
        // What is swapped out is not killed.
        let _ = match self.version {
            Version::One => fs::write(self.dir.join("memory.memsw.limit_in_bytes"), (used + more).to_string()),
            Version::Two => fs::write(self.dir.join("memory.swap.max"), "0"),
        };
    }

    /// How many processes the kernel has killed in it.
    pub fn killed(&self) -> u64 {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let lines = self.read(file);
        let count = lines.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok());
        count.expect("a number of kills")
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.dir.join(file)).expect("a file of the cgroup")
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // A process that is still in it keeps it until the machine is gone.
        let _ = fs::remove_dir(&self.dir);
    }
}
