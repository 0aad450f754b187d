//! What processes have cost, as the kernel counts it.

use std::collections::HashMap;
use std::fs;

use nix::unistd::{SysconfVar, sysconf};

/// The fields of /proc/PID/stat from the state on, which is number 3 there.
fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses, and may contain anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

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

/// All descendants of a process.
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    for process in processes.filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok()) {
        if let Some(parent) = stat(process).and_then(|stat| stat[1].parse().ok()) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = children.remove(&pid).unwrap_or_default();
    let mut looked_at = 0;
    while let Some(next) = found.get(looked_at).copied() {
        found.extend(children.remove(&next).unwrap_or_default());
        looked_at += 1;
    }
    found
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
