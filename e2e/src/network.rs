//! Black holes in the run's own network (hack/own-network): packets vanish, and neither side is told.

use std::io::Write;
use std::net::Ipv4Addr;

use crate::process::{Process, command};
use crate::run::{Run, unique};

/// An address of the loopback network that can be cut off from all others.
pub struct IsolatedAddress {
    pub address: Ipv4Addr,
}

impl IsolatedAddress {
    /// A new one; `None`, and a word about it, where this run has no network of its own.
    pub fn new() -> Option<Self> {
        if std::env::var_os("BASTION_OWN_NETWORK").is_none() {
            skipped("it needs a network of its own: hack/own-network");
            return None;
        }
        let [.., high, low] = unique().to_be_bytes();
        Some(Self { address: Ipv4Addr::new(127, 1, high, low) })
    }

    /// From now on every packet to and from this address vanishes on its way.
    pub async fn cut_off(&self) {
        self.iptables("--insert").await;
    }

    /// From now on every packet to this address vanishes. Packets from it arrive.
    pub async fn cut_off_inbound(&self) {
        self.rule("--insert", &["--destination", &self.address.to_string(), "--jump", "DROP"]).await;
    }

    /// From now on every packet from this address vanishes. Packets to it arrive.
    pub async fn cut_off_outbound(&self) {
        self.rule("--insert", &["--source", &self.address.to_string(), "--jump", "DROP"]).await;
    }

    /// From now on packets to and from this address vanish that are longer than a network with a small MTU passes on.
    pub async fn drop_large_packets(&self, longest: u16) {
        let length = format!("{}:", longest + 1);
        for side in ["--source", "--destination"] {
            let large = ["--match", "length", "--length", &length, "--jump", "DROP"];
            self.rule("--insert", &[&[side, &self.address.to_string()][..], &large].concat()).await;
        }
    }

    /// Answers every TCP packet to this address with a reset from now on.
    pub async fn reset_all(&self) {
        let rule = ["--destination", &self.address.to_string(), "--protocol", "tcp", "--jump", "REJECT"];
        self.rule("--insert", &[&rule[..], &["--reject-with", "tcp-reset"]].concat()).await;
    }

    /// Undoes that.
    pub async fn reconnect(&self) {
        self.iptables("--delete").await;
    }

    /// Packets are dropped where they arrive: an outgoing rule would tell the sender.
    async fn iptables(&self, what: &str) {
        for side in ["--source", "--destination"] {
            self.rule(what, &[side, &self.address.to_string(), "--jump", "DROP"]).await;
        }
    }

    async fn rule(&self, what: &str, rule: &[&str]) {
        let mut iptables = command("iptables");
        iptables.args(["--wait", what, "INPUT"]).args(rule);
        let files = Run::get().await.dir.join(format!("iptables-{}", unique()));
        Process::succeeds(files, iptables).await;
    }
}

/// Says that the running test is skipped, also where the output of tests that pass is not shown.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "\n### SKIPPED: {test}: {why}");
}
