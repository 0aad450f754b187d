//! What /proc says of processes and TCP sockets.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use nix::unistd::Pid;

/// Returns the fields of /proc/PID/stat from field 3, the state, on.
pub fn stat(pid: i32) -> Option<Vec<String>> {
    stat_in(format!("/proc/{pid}"))
}

/// Returns the same fields of a process or thread from its folder under /proc.
pub fn stat_in(dir: impl AsRef<Path>) -> Option<Vec<String>> {
    let stat = fs::read_to_string(dir.as_ref().join("stat")).ok()?;
    // The name stands in parentheses, and may contain anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Returns the program and the arguments of a process.
pub fn command_line(pid: Pid) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("the process runs");
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Returns the resident memory of a process, in bytes.
pub fn resident(pid: Pid) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// Returns how many sockets a process has open.
pub fn open_sockets(pid: Pid) -> usize {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").flatten();
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// Returns all descendants of a process.
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

/// Returns how many bytes wait unread in each established socket whose local port this is.
pub fn unread_at(port: u16) -> Vec<u64> {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's table of sockets");
    let unread = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = u16::from_str_radix(fields[1].rsplit_once(':')?.1, 16).ok()?;
        let (_, unread) = fields[4].split_once(':')?;
        (local == port && fields[3] == ESTABLISHED).then(|| u64::from_str_radix(unread, 16).ok())?
    };
    table.lines().skip(1).filter_map(unread).collect()
}
