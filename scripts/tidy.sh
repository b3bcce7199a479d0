#!/usr/bin/env bash
# clang-tidy with the checks of .clang-tidy over lib/ and app/, by the compile commands of build/cpu.
# Usage: scripts/tidy.sh [path regex...]      (default: all of lib/ and app/)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ $# -gt 0 ]] || set -- "$PWD/(lib|app)/.*"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! run-clang-tidy -quiet -p build/cpu -j "${EPS_JOBS:-$(nproc)}" "$@" >"$log" 2>&1; then
    grep -v -E '^clang-tidy|warnings generated|^$' "$log"
    exit 1
fi
num_files=$(grep -c '^clang-tidy' "$log" || true)
echo "tidy: $num_files files, no finding"
[[ $num_files -gt 0 ]]
