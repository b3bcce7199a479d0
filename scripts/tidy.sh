#!/usr/bin/env bash
# clang-tidy with the checks of .clang-tidy over lib/ and app/, each room in one piece: headers are read once a room.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cmake --preset cpu -B build/tidy -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=10 -DEPS_TESTS=OFF >/dev/null
cmake --build build/tidy --target eps_version_header >/dev/null
if ! run-clang-tidy -quiet -p build/tidy -j "${EPS_JOBS:-$(nproc)}" "$PWD/(build/tidy/)?(lib|app)/.*" >"$log" 2>&1; then
    grep -v -E '^clang-tidy|warnings generated|^$' "$log"
    exit 1
fi
num_pieces=$(grep -c '^clang-tidy' "$log" || true)
echo "tidy: $num_pieces pieces, no finding"
[[ $num_pieces -gt 0 ]]
