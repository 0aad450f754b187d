# Shared by the scripts in hack/: where things are cached, and how progress is printed. Sourced, not run.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${BASTION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bastion-operator}

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# need COMMAND PACKAGE…: each command, or the Debian packages that bring them (as root: installed; else: named).
need_packages() {
  local missing=()
  while (($#)); do
    command -v "$1" >/dev/null 2>&1 || [[ -x /usr/sbin/$1 ]] || missing+=("$2")
    shift 2
  done
  ((${#missing[@]})) || return 0
  if ((EUID != 0)); then
    die "these Debian packages are missing; as root: apt-get install ${missing[*]}"
  fi
  say "installing Debian packages: ${missing[*]}"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}
