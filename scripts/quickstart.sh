#!/usr/bin/env bash
# Installs what is missing, builds the program and runs configs/quickstart.json on 4 ranks of this machine.
# Usage: scripts/quickstart.sh [eps-bench options...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/mpi_env.sh

scripts/install_deps.sh build
# A build folder that already builds the tests keeps them.
[[ -f build/cpu/build.ninja ]] || cmake --preset cpu -DEPS_TESTS=OFF
cmake --build --preset cpu -j "${EPS_JOBS:-$(nproc)}" --target eps-bench

mpirun -n 4 build/cpu/eps-bench --config configs/quickstart.json "$@"
