//! Programs that speak SSH through the bastion as they do to any host: scp and sftp in all their ways, Paramiko, Ansible, and
//! an editor that works on the target.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::process::Command;

use crate::clients::{assert_same, run_command, tree};
use bastion_e2e::network::skipped;
use bastion_e2e::process::command;
use bastion_e2e::run::{Run, repository, unique};
use bastion_e2e::sshd::free_port;
use bastion_e2e::{Bastion, default_timeout, stretched, weight};

/// Copies a tree to the target and back with `scp` and these flags.
async fn assert_scp_works(bastion: &Bastion, flags: &[&str]) {
    let (folder, number) = (bastion.namespace.dir.display().to_string(), unique());
    let (there, back) = (format!("there-{number}"), format!("{folder}/back-{number}"));
    let remote = format!("127.0.0.1:{folder}/{there}");
    let here = format!("{folder}/here");
    for [from, to] in [[&here, &remote], [&remote, &back]] {
        let arguments = [flags, &["-r", "-p", from, to]].concat();
        let outcome = bastion.ssh("alice:web-1").await.run_other("scp", &arguments).await;
        assert_eq!(outcome.code, Some(0), "scp {arguments:?}: {outcome:?}");
    }
    assert_same(bastion, "here", &back).await;
}

#[tokio::test]
async fn scp_copies_trees_there_and_back_by_sftp_and_by_its_old_protocol() {
    let bastion = Bastion::up().await;
    tree(&bastion.namespace.dir.join("here"));
    // The limit is in Kbit/s.
    for flags in [&[][..], &["-O"], &["-l", "200000"], &["-O", "-l", "200000"], &["-C"]] {
        assert_scp_works(&bastion, flags).await;
    }
}

#[tokio::test]
async fn sftp_copies_trees_there_and_back_and_does_what_is_done_with_files() {
    let bastion = Bastion::up().await;
    let folder = bastion.namespace.dir.display().to_string();
    tree(&bastion.namespace.dir.join("here"));
    let large = fs::read(bastion.namespace.dir.join("here/a/b/large")).expect("a file");
    fs::write(bastion.namespace.dir.join("part"), &large[..large.len() / 2]).expect("a file");
    let batch = format!(
        "put -R {folder}/here {folder}/there\nget -R {folder}/there {folder}/back\nmkdir {folder}/new\n\
         rename {folder}/there/empty {folder}/new/renamed\nsymlink renamed {folder}/new/link\nchmod 600 {folder}/new/renamed\n\
         ls -l {folder}/new\nrm {folder}/new/link\nput {folder}/part {folder}/new/again\nreput {folder}/here/a/b/large {folder}/new/again\ndf {folder}\n"
    );
    fs::write(bastion.namespace.dir.join("batch"), batch).expect("a file");
    let arguments = ["-b", &format!("{folder}/batch"), "127.0.0.1"].map(str::to_owned);
    let outcome = bastion.ssh("alice:web-1").await.run_other("sftp", &arguments).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("-rw-------") && outcome.stdout.contains("renamed"), "{outcome:?}");
    assert_same(&bastion, "here", "back").await;
    assert_same(&bastion, "here/a/b/large", "new/again").await;
}

/// The folder of hack/python's programs, where there is one.
pub async fn python() -> Option<PathBuf> {
    let script = repository().join("hack/python");
    let output = Command::new(script).output().await.expect("hack/python runs");
    if !output.status.success() {
        skipped(String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

const PARAMIKO: &str = r#"
import base64, sys, paramiko
port, key, known, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
client = paramiko.SSHClient()
host_key = paramiko.Ed25519Key(data=base64.b64decode(known.split()[1]))
client.get_host_keys().add(f"[127.0.0.1]:{port}", "ssh-ed25519", host_key)
client.connect("127.0.0.1", port=port, username="alice:web-1", key_filename=key, allow_agent=False, look_for_keys=False)
_, out, err = client.exec_command("cat; echo problem >&2; exit 5")
out.channel.sendall(b"x" * 1_000_000)
out.channel.shutdown_write()
assert len(out.read()) == 1_000_000, "the command's output"
assert err.read() == b"problem\n", "its standard error"
assert out.channel.recv_exit_status() == 5, "its exit code"
shell = client.invoke_shell(term="xterm", width=91, height=37)
shell.sendall(b"stty size; exit 3\n")
seen = b""
while data := shell.recv(4096):
    seen += data
assert b"37 91" in seen, seen
assert shell.recv_exit_status() == 3, "the shell's exit code"
sftp = client.open_sftp()
sftp.put(folder + "/here", folder + "/there")
sftp.get(folder + "/there", folder + "/back")
assert sftp.stat(folder + "/there").st_size == 3_000_000
assert "there" in sftp.listdir(folder)
client.close()
print("good", paramiko.__version__)
"#;

#[tokio::test]
async fn paramiko_has_commands_a_shell_and_files() {
    let Some(python) = python().await else { return };
    let bastion = Bastion::up().await;
    let folder = &bastion.namespace.dir;
    fs::write(folder.join("script.py"), PARAMIKO).expect("a file");
    fs::write(folder.join("here"), vec![7; 3_000_000]).expect("a file");
    let known_hosts = fs::read_to_string(bastion.gateway.known_hosts()).expect("a file");
    let mut command = command(python.join("python"));
    command.arg(folder.join("script.py")).arg(bastion.gateway.address.port().to_string());
    command.arg(&Run::get().await.user_key.path).arg(known_hosts.trim_start_matches("* ").trim()).arg(folder);
    let outcome = run_command(&bastion, command, default_timeout()).await;
    assert!(outcome.code == Some(0) && outcome.stdout.starts_with("good "), "{outcome:?}");
    assert_same(&bastion, "here", "back").await;
}

/// How long a play may take on an idle machine: Ansible needs seconds of processor time for the smallest thing.
const ANSIBLE_TIMEOUT: Duration = Duration::from_mins(2);

#[tokio::test]
async fn ansible_runs_modules_and_copies_files() {
    let _held = weight::take(1).await;
    let Some(python) = python().await else { return };
    let bastion = Bastion::up().await;
    let folder = &bastion.namespace.dir;
    fs::write(folder.join("here"), "from here\n").expect("a file");
    let options = bastion.ssh("alice:web-1").await.common_options().join(" ");
    let inventory = format!(
        "web-1 ansible_host=127.0.0.1 ansible_python_interpreter={} ansible_ssh_common_args='{options}'\n",
        python.join("python").display()
    );
    fs::write(folder.join("inventory"), inventory).expect("a file");
    fs::write(folder.join("ansible.cfg"), "").expect("a file");
    let copy = format!("src={0}/here dest={0}/there", folder.display());
    for arguments in [["-m", "ping"].as_slice(), &["-m", "copy", "-a", &copy], &["-m", "command", "-a", "id -u"]] {
        let mut command = command(python.join("ansible"));
        command.args(["all", "-i", "inventory"]).args(arguments);
        command.env("ANSIBLE_CONFIG", folder.join("ansible.cfg")).env("ANSIBLE_LOCAL_TEMP", folder.join("local"));
        command
            .env("ANSIBLE_REMOTE_TEMP", folder.join("remote"))
            .env("ANSIBLE_SSH_CONTROL_PATH_DIR", folder.join("cp"));
        let outcome = run_command(&bastion, command, stretched(ANSIBLE_TIMEOUT)).await;
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {outcome:?}");
    }
    assert_same(&bastion, "here", "there").await;
}

/// An editor's remote side: one connection, a proxy through it, a server that talks through pipes for as long as the editor
/// is open, and many short commands beside it.
#[tokio::test]
async fn an_editor_works_on_the_target_through_one_connection() {
    let bastion = Bastion::with(async |namespace, sshd| {
        namespace.target_with("web-1", sshd, json!({"allow": {"localForward": true}})).await;
    })
    .await;
    let socket = bastion.namespace.dir.join("control");
    let path = format!("ControlPath={}", socket.display());
    let master = bastion.ssh("alice:web-1").await.set("ControlMaster=yes").set(&path);
    let proxy = format!("127.0.0.1:{}", free_port().await);
    let mut master = master.option("-D").option(&proxy).no_terminal().command("cat").start().await;
    master.say("the server's words").await;
    master.shows("the server's words").await;
    let short = join_all((0..30).map(async |number: u32| {
        let ssh = bastion.ssh("alice:web-1").await.set(&path).command(&format!("cat >/dev/null; echo {number}"));
        let outcome = ssh.run().await;
        assert_eq!((outcome.code, outcome.stdout), (Some(0), format!("{number}\n")), "{}", outcome.stderr);
    }));
    short.await;
    master.say("more of them").await;
    master.shows("more of them").await;
    assert_eq!(bastion.session_names().await.len(), 1, "all of it was one session");
    master.close_input();
    assert_eq!(master.finish(default_timeout()).await.code, Some(0), "the server ends when the editor leaves");
}
