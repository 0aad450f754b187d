//! The command lines of README.md, typed as they stand there.

use std::fs;

use crate::clients::run_command;
use bastion_e2e::process::{Outcome, command};
use bastion_e2e::run::{Run, unique};
use bastion_e2e::{Bastion, default_timeout};

/// The host in README.md, which the tests' configuration of `ssh` maps to the gateway.
const GATEWAY: &str = "gateway.example.com";

/// Returns the lines of README.md in which alice signs in, without their comments.
fn lines() -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let code = readme.split("```").skip(1).step_by(2).flat_map(str::lines);
    let typed = code.map(|line| line.split("  #").next().unwrap_or(line).trim().to_owned());
    typed.filter(|line| line.contains("alice") && line.contains(GATEWAY)).collect()
}

/// Returns shell code with which `ssh`, and programs that run it, find the gateway, its host key and alice's key.
async fn shell(bastion: &Bastion) -> String {
    let folder = &bastion.namespace.dir;
    let config = format!(
        "Host {GATEWAY}\n HostName 127.0.0.1\n Port {}\n IdentityFile {}\n UserKnownHostsFile {}\n BatchMode yes\n \
         IdentitiesOnly yes\n IdentityAgent none\n GlobalKnownHostsFile /dev/null\n StrictHostKeyChecking yes\n",
        bastion.gateway.address.port(),
        Run::get().await.user_key.path.display(),
        bastion.gateway.known_hosts().display(),
    );
    fs::write(folder.join("config"), config).expect("a file");
    let config = folder.join("config").display().to_string();
    format!(
        "for program in ssh scp sftp; do eval \"$program() {{ command $program -F {config} \\\"\\$@\\\"; }}\"; done\n\
         export RSYNC_RSH='ssh -F {config}' GIT_SSH_COMMAND='ssh -F {config}'\n\
         export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1\n"
    )
}

/// Types a line in the test's folder, with these words for the program that it starts.
async fn type_in(bastion: &Bastion, line: &str, words: &str) -> Outcome {
    // The README's paths on the server are in the test's folder, and its login is that of the tests' sshd.
    let (folder, login) = (bastion.namespace.dir.display(), &bastion.sshd.login);
    let line = line.replace("/srv/", &format!("{folder}/srv/")).replace("alice+root@", &format!("alice+{login}@"));
    let line = line.replace(&format!("{GATEWAY}:22/"), &format!("{GATEWAY}:{}/", bastion.gateway.address.port()));
    let script = format!("{}{line} <<'TYPED'\n{words}TYPED\n", shell(bastion).await);
    let file = bastion.namespace.dir.join(format!("typed-{}.sh", unique()));
    fs::write(&file, script).expect("a file");
    let mut sh = command("bash");
    sh.arg("-eu").arg(&file);
    run_command(bastion, sh, default_timeout()).await
}

#[tokio::test]
async fn its_lines_work_as_they_stand() {
    let bastion = Bastion::up().await;
    let folder = &bastion.namespace.dir;
    fs::create_dir_all(folder.join("srv/shop")).expect("a folder");
    fs::create_dir_all(folder.join("site")).expect("a folder");
    fs::write(folder.join("report.txt"), "a report\n").expect("a file");
    fs::write(folder.join("site/index.html"), "a page\n").expect("a file");
    let repository = "git init --quiet --initial-branch=main work && git -C work -c user.name=a -c user.email=a@example.com \
         commit --quiet --allow-empty --message begin && git clone --quiet --bare work srv/git/shop.git";
    let made = type_in(&bastion, &format!("sh -c '{repository}'"), "").await;
    assert_eq!(made.code, Some(0), "{made:?}");

    let mut typed = Vec::new();
    for line in lines() {
        let program = line.split(' ').next().unwrap_or_default().to_owned();
        let words = match program.as_str() {
            "ssh" => "echo through\n",
            "sftp" => "get report.txt fetched.txt\n",
            _ => "",
        };
        let outcome = type_in(&bastion, &line, words).await;
        if line.contains('+') {
            assert_eq!(outcome.code, Some(0), "{line}: {outcome:?}");
        } else {
            // Without a terminal there is no menu.
            let read = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(read.contains("bastion: name a target: "), "{line}: {outcome:?}");
        }
        if program == "ssh" && line.contains('+') {
            assert_eq!(outcome.stdout, "through\n", "{line}: {outcome:?}");
        }
        typed.push(program);
    }
    assert_eq!(typed, ["ssh", "ssh", "ssh", "scp", "sftp", "rsync", "git", "git"], "the lines of README.md");
    let read = |path: &str| fs::read_to_string(folder.join(path)).expect("a file that was copied");
    assert_eq!((read("srv/shop/report.txt"), read("fetched.txt")), ("a report\n".into(), "a report\n".into()));
    assert_eq!(read("srv/shop/site/index.html"), "a page\n");
    for clone in ["shop", "catalogue"] {
        assert_eq!(read(&format!("{clone}/.git/HEAD")), "ref: refs/heads/main\n");
    }
}
