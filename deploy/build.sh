#!/bin/sh
# The steps of the Dockerfile: build.sh TARGET [EXTRA…]
# Builds the wheel of the folder above this one, and installs it into a new virtual environment TARGET together with what
# it needs, in exactly the versions and with the hashes of requirements.lock. TARGET gets no pip; nothing else changes.
# PYTHON names an interpreter, 3.11 or newer, other than python3.
set -eu

source=$(cd "$(dirname "$0")/.." && pwd)
target=${1:?usage: build.sh TARGET [EXTRA…]}
shift
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Debian keeps pip out of python3; a virtual environment can have one all the same.
if ! "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv "$work/pip"
    python=$work/pip/bin/python
fi
# pip_of ENVIRONMENT ARGUMENTS…: pip, working on another environment.
pip_of() {
    environment=$1
    shift
    "$python" -m pip --disable-pip-version-check --quiet --python "$environment/bin/python" "$@"
}

"$python" -m venv --without-pip "$work/build"
"$python" "$source/deploy/pins.py" build >"$work/build.lock"
pip_of "$work/build" install --require-hashes --no-deps --only-binary :all: -r "$work/build.lock"
if ! (cd "$source" && "$work/build/bin/python" -m hatchling build -t wheel -d "$work/wheel") >"$work/log" 2>&1; then
    cat "$work/log" >&2
    exit 1
fi

"$python" -m venv --without-pip --clear "$target"
"$python" "$source/deploy/pins.py" run "$@" >"$work/run.lock"
pip_of "$target" install --require-hashes --no-deps --only-binary :all: -r "$work/run.lock"
pip_of "$target" install --no-deps "$work"/wheel/*.whl
pip_of "$target" check
"$target/bin/webhook-router" --version
