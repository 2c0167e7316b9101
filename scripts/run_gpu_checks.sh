#!/usr/bin/env bash
# Everything that only a GPU can tell, in order of value; results go to docs/gpu/ after every step.
#
#   scripts/run_gpu_checks.sh --library build/plugins/libnatdeploy_op.so     all steps, each in ten minutes at most
#   scripts/run_gpu_checks.sh --list                                         their names
#   scripts/run_gpu_checks.sh --step first-look                              one of them
#
# Needs a Python with torch and numpy (PYTHON names it) and the built library; nothing else of natdeploy is installed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} "$root/.venv/bin/python" python3 python; do
    if "$candidate" -c 'import sys, numpy, torch; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: the GPU checks need a Python, 3.10 or newer, with torch and numpy; none was found. Name one:" \
    "PYTHON=/path/to/python3 $0" >&2
  exit 1
}

python=$(find_python)
export PYTHONPATH="$root/scripts:$root${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1
exec "$python" -m gpu_checks "$@"
