# Sourced by quickstart and test: makes a virtual environment in the repository's root and installs natdeploy with extras
# into it. Each script has its own: the tests also say what natdeploy does where nothing optional is installed.
# uv does the installing (18 s where pip takes 70 s for PyTorch); pip brings uv where it is absent.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.venv"

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.10 python; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "natdeploy needs Python 3.10 or newer; found none. Install one, or name it: PYTHON=/path/to/python3 $0" >&2
  exit 1
}

find_uv() {
  if command -v uv >/dev/null; then
    command -v uv
    return
  fi
  if [ ! -x "$venv-uv/bin/uv" ]; then
    say "installing uv (15 MB)"
    "$1" -m venv "$venv-uv" && "$venv-uv/bin/pip" install --quiet uv >&2
  fi
  echo "$venv-uv/bin/uv"
}

# Where the user told pip to look for packages (a CPU build of PyTorch, say), uv looks too.
adopt_pip_settings() {
  local settings value
  settings=$("$1" -m pip config list 2>/dev/null || true)
  pip_setting() { sed -nE "s/^[^ ]*\.$1='(.*)'$/\1/p" <<<"$settings" | tail -n 1 | sed 's/\\n/ /g'; }
  value=$(pip_setting find-links) && [ -n "$value" ] && export UV_FIND_LINKS="${UV_FIND_LINKS:-${value// /,}}"
  value=$(pip_setting index-url) && [ -n "$value" ] && export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$value}"
  value=$(pip_setting extra-index-url) && [ -n "$value" ] && export UV_INDEX="${UV_INDEX:-$value}"
  return 0
}

# install_natdeploy EXTRAS WHAT_TAKES_LONG: done at once where nothing changed since the last time; fails where uv does, also inside of
# `if`, where bash does not leave a function at its first error.
install_natdeploy() {
  local extras=$1 python uv fingerprint
  python=$(find_python) || return
  fingerprint=$(cat "$root/pyproject.toml" <(echo "$extras ${NATDEPLOY_PLUGINS:-} ${NATDEPLOY_CUDA_ARCHITECTURES:-} $("$python" --version)") | cksum)
  if [ "$(cat "$venv/installed-$extras" 2>/dev/null)" = "$fingerprint" ]; then
    return
  fi
  uv=$(find_uv "$python") || return
  adopt_pip_settings "$python"
  [ -x "$venv/bin/python" ] || "$uv" venv --quiet --python "$python" "$venv" || return
  say "installing natdeploy[$extras] into ${venv##*/}: $2"
  "$uv" pip install --quiet --python "$venv/bin/python" --editable "$root[$extras]" || return
  echo "$fingerprint" >"$venv/installed-$extras"
}
