#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that are missing; does nothing when none is.
# Usage: scripts/install_deps.sh [build] [test] [lint]      (groups; default: build test)
set -euo pipefail

build=(g++ cmake ninja-build git libopenmpi-dev openmpi-bin libdnnl-dev libcli11-dev nlohmann-json3-dev libfmt-dev)
test=(catch2 python3 python3-pytest python3-pytest-xdist python3-jsonschema python3-numpy python3-matplotlib)
lint=(clang-format clang-tidy pyflakes3)

if ! command -v dpkg-query >/dev/null; then
    echo "install_deps: not a Debian or Ubuntu system; install by hand what ${build[*]} hold" >&2
    exit 0
fi

wanted=()
for group in "${@:-build test}"; do
    for name in $group; do
        case $name in
            build) wanted+=("${build[@]}") ;;
            test) wanted+=("${test[@]}") ;;
            lint) wanted+=("${lint[@]}") ;;
            *) echo "install_deps: unknown group '$name'; there are build, test, lint" >&2; exit 2 ;;
        esac
    done
done

missing=()
for package in "${wanted[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
        echo "install_deps: missing ${missing[*]}; as root: apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "installing: ${missing[*]}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
