#!/usr/bin/env bash
# Installs what is missing, builds everything and runs all tests.
# Usage: scripts/test.sh [ctest options...]      (EPS_JOBS: how many jobs at once; default: the cores)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=${EPS_JOBS:-$(nproc)}

scripts/install_deps.sh build test
cmake --preset cpu -DEPS_TESTS=ON -DEPS_CLI_TESTS=ON
cmake --build --preset cpu -j "$jobs"
ctest --preset cpu -j "$jobs" "$@"
