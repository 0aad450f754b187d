# Shared by the scripts in hack/: paths, messages, checks and locks. Sourced, not run.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${BASTION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bastion-operator}
# Debian keeps sshd, ip and iptables in folders that are not on an ordinary user's PATH.
PATH=$PATH:/usr/sbin:/sbin

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Prints each argument as a line of a block that stands out in a log: warn_block LINE…
warn_block() { printf '### %s\n' "" "$@" "" >&2; }

# Prints a short digest of standard input. What is built carries the digest of its sources in its name.
digest() { sha256sum | cut -c1-16; }

# Waits for the lock FILE and holds it until the script ends: lock FILE.
lock() {
  mkdir -p "$(dirname "$1")"
  exec 9>"$1"
  flock 9
}

# Prints those Debian packages whose command is missing: missing_packages [COMMAND PACKAGE]…
missing_packages() {
  while (($#)); do
    command -v "$1" >/dev/null 2>&1 || echo "$2"
    shift 2
  done
}

# Installs Debian packages as root; for another user, names them and fails: install_packages PACKAGE…
install_packages() {
  (($#)) || return 0
  ((EUID == 0)) || die "these Debian packages are missing; as root: apt-get install $*"
  say "installing Debian packages: $*"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}
