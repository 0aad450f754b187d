//! What processes have cost, as the kernel counts it.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

use bastion_e2e::proc::stat;

fn seconds(pid: i32, fields: &[usize]) -> f64 {
    let stat = stat(pid).unwrap_or_else(|| panic!("process {pid} runs"));
    let ticks: u64 = fields.iter().map(|field| stat[field - 3].parse::<u64>().expect("a number of ticks")).sum();
    let a_second = sysconf(SysconfVar::CLK_TCK).expect("a number").expect("the ticks of a second");
    ticks as f64 / a_second as f64
}

/// The processor time of a process, in seconds.
pub fn cpu(pid: i32) -> f64 {
    seconds(pid, &[14, 15])
}

/// The processor time of a process and of all its descendants that have ended and that were waited for, in seconds.
pub fn cpu_with_descendants(pid: i32) -> f64 {
    seconds(pid, &[14, 15, 16, 17])
}

/// The memory of a process in KB. What several processes share is divided among them; where the kernel does not tell us
/// that, it is what is not shared with a file.
pub fn memory(pid: i32) -> f64 {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
    };
    field("smaps_rollup", "Pss:")
        .or_else(|| field("status", "RssAnon:"))
        .unwrap_or_else(|| panic!("process {pid} runs"))
}
