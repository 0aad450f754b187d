//! A GiB through the bastion in each way that people move one, with its digest at both ends.

use std::time::Duration;

use bastion_e2e::Bastion;
use bastion_e2e::process::{Process, command};
use bastion_e2e::weight;

/// What a machine that does everything else too may take for four GiB.
const DEADLINE: Duration = Duration::from_mins(10);

/// Prints six digests: of what a command gets and sends, which never lies on a disk, and of a file with holes that sftp brings
/// and takes away, of which one copy at a time is there.
const SCRIPT: &str = r#"
set -euo pipefail
made="head -c 1G /dev/zero | openssl enc -aes-128-ctr -K 0123456789abcdef0123456789abcdef -iv 00000000000000000000000000000000"
eval "$made" | sha256sum
$REMOTE_SHELL 127.0.0.1 "$made" | sha256sum
eval "$made" | $REMOTE_SHELL 127.0.0.1 sha256sum
truncate --size 1G large
for part in 0 100 511 1016; do
  dd if=/dev/urandom of=large bs=1M count=8 seek=$part conv=notrunc status=none
done
sha256sum < large
for way in get put; do
  echo "$way $PWD/large $PWD/$way" | ${REMOTE_SHELL/ssh/sftp -q -b -} 127.0.0.1 >&2
  sha256sum < $way
  rm $way
done
rm large
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_arrives_with_its_digest_by_commands_and_by_sftp() {
    let _held = weight::take(2).await;
    let bastion = Bastion::up().await;
    let mut script = command("bash");
    script.args(["-c", SCRIPT]).current_dir(&bastion.namespace.dir);
    script.env("REMOTE_SHELL", bastion.ssh("alice:web-1").await.remote_shell());
    let mut process = Process::start(bastion.namespace.dir.join("script"), script).await;
    let outcome = process.finish(DEADLINE).await;
    let digests: Vec<&str> = outcome.stdout.lines().collect();
    assert!(outcome.code == Some(0) && digests.len() == 6, "{outcome:?}");
    let (by_command, by_sftp) = digests.split_at(3);
    assert!(by_command.iter().all(|it| *it == by_command[0]), "by commands: {digests:?}");
    assert!(by_sftp.iter().all(|it| *it == by_sftp[0]), "by sftp: {digests:?}");
}
