#!/usr/bin/env bash
# Fills a folder with the header-only dependencies, for a machine without a network or without root: configure there
# with -DEPS_DEPS_DIR=DIR. What is there already is left alone.
# Usage: scripts/vendor_deps.sh DIR
set -euo pipefail

[[ $# -eq 1 ]] || { echo "usage: scripts/vendor_deps.sh DIR" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# debian PACKAGE HEADER: unpacked as a prefix, DIR/include and DIR/lib.
debian() {
    [[ -e $dir/include/$2 ]] && return
    echo "vendor_deps: $1"
    apt-get download -q=2 -o APT::Sandbox::User=root "$1" || { echo "vendor_deps: no package $1: run apt-get update, or name another Debian mirror" >&2; exit 1; }
    dpkg -x "$1"_*.deb unpacked
    mkdir -p "$dir/include" "$dir/lib"
    cp -r unpacked/usr/include/. "$dir/include"
    [[ ! -d unpacked/usr/lib ]] || cp -r unpacked/usr/lib/. "$dir/lib"
    rm -rf unpacked
}

# wheel NAME VERSION HEADER FOLDER...: the folders' contents go to DIR/include; the wheel's Python does not matter.
wheel() {
    local name=$1 version=$2 header=$3
    shift 3
    [[ -e $dir/include/$header ]] && return
    echo "vendor_deps: $name $version"
    python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
        --implementation cp --platform "manylinux_2_28_$(uname -m)" --platform "manylinux_2_27_$(uname -m)" "$name==$version"
    python3 -m zipfile -e "${name//-/_}-$version"-*.whl unpacked
    mkdir -p "$dir/include"
    for folder in "$@"; do cp -r "unpacked/$folder/." "$dir/include"; done
    rm -rf unpacked
}

debian libcli11-dev CLI/CLI.hpp
debian nlohmann-json3-dev nlohmann/json.hpp
debian libfmt-dev fmt/core.h
# Catch2 3 where it has a package of its own; catch2 is version 2 or 3.
if apt-cache show libcatch2-dev >/dev/null 2>&1; then
    debian libcatch2-dev catch2/catch_all.hpp
elif [[ ! -e $dir/include/catch2/catch_all.hpp ]]; then
    debian catch2 catch2/catch.hpp
fi
wheel nvidia-cutlass 4.2.0.0 cutlass/cutlass.h cutlass_library/source/include
wheel nvidia-cudnn-frontend 1.18.0 cudnn_frontend.h include
echo "vendor_deps: $dir is complete"
