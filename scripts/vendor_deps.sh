#!/usr/bin/env bash
# Fills a folder with the headers that a build needs beside compilers, MPI and CUDA: for machines without a network.
# Usage: scripts/vendor_deps.sh DIR      then: cmake --preset cuda -DEPS_DEPS_DIR=DIR
# Debian packages and PyPI wheels are downloaded by name and unpacked; nothing is installed.
set -euo pipefail
[[ $# -eq 1 ]] || { sed -n 's/^# \(Usage.*\)/\1/p' "$0" >&2; exit 2; }
mkdir -p "$1/include"
to=$(realpath "$1")/include
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# take FILE FOLDER: copies FOLDER's content out of the unpacked trees; FILE must be among it.
take() {
    local found
    found=$(find . -path "*/$1" -print -quit)
    [[ -n $found ]] || { echo "vendor_deps: no $1 in what was downloaded" >&2; exit 1; }
    cp -rn "${found%"/$1"}/$2" "$to/"
}

for package in libcli11-dev nlohmann-json3-dev libfmt-dev catch2; do
    apt-get download -q "$package"
    dpkg-deb -x "$package"_*.deb "$package"
done
take CLI/CLI.hpp CLI
take nlohmann/json.hpp nlohmann
take fmt/core.h fmt
take catch2/catch.hpp catch2

for wheel in nvidia-cutlass==4.2.0.0 nvidia-cudnn-frontend==1.18.0; do
    python3 -m pip download -q --no-deps --only-binary=:all: --dest "$work" "$wheel"
done
for wheel in *.whl; do python3 -m zipfile -e "$wheel" "${wheel%%-*}"; done
take cutlass/cutlass.h cutlass
take cute/tensor.hpp cute
take cudnn_frontend.h cudnn_frontend.h
take cudnn_frontend.h cudnn_frontend_version.h
take cudnn_frontend.h cudnn_frontend
du -sh "$to"
