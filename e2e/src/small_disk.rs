//! A file system with little room, which a test can fill.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use crate::network::skipped;
use crate::process::{Process, command};
use crate::run::{Run, unique};

/// A tmpfs in the run's own mount namespace (hack/own-network), which goes with the run.
pub struct SmallDisk {
    pub dir: PathBuf,
}

impl SmallDisk {
    /// Mounts one of this many bytes. `None`, and a word about it, where this run may not mount anything.
    pub async fn new(bytes: u64) -> Option<Self> {
        let dir = Run::get().await.dir.join(format!("disk-{}", unique()));
        if !nix::unistd::Uid::effective().is_root() || std::env::var_os("BASTION_OWN_NETWORK").is_none() {
            skipped("it needs root and a mount namespace of its own: hack/own-network");
            return None;
        }
        fs::create_dir(&dir).expect("a folder");
        let mut mount = command("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(&dir);
        let files = Run::get().await.dir.join(format!("mount-{}", unique()));
        Process::succeeds(files, mount).await;
        Some(Self { dir })
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a file");
        for piece in [64 << 10, 1] {
            while filler.write_all(&vec![0; piece]).is_ok() {}
        }
    }

    /// Takes away what fills it.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("it is filled");
    }

    fn filler(&self) -> PathBuf {
        self.dir.join("filler")
    }
}
