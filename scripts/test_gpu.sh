#!/usr/bin/env bash
# Builds (or takes a program built elsewhere) and tests the CUDA backend on this machine's GPUs.
# Usage: scripts/test_gpu.sh [GPUS] [PART...]      parts: kernels exchange cases figures (default: all; each some minutes)
# EPS_GPU_BUILD: folder of a finished build; otherwise build/cuda is built, with EPS_DEPS_DIR's headers where it is set.
# EPS_GPU_RANKS: more ranks than GPUs are tried with --share-devices (default: GPUS). Reports go to EPS_GPU_OUT
# (build/gpu-reports) and are packed into gpu-reports.tar.gz there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/mpi_env.sh
gpus=${1:-$(nvidia-smi -L | wc -l)}
shift || true
parts=("$@")
[[ ${#parts[@]} -gt 0 ]] || parts=(kernels exchange cases figures)
ranks=${EPS_GPU_RANKS:-$gpus}
build=${EPS_GPU_BUILD:-build/cuda}
out=${EPS_GPU_OUT:-build/gpu-reports}
mkdir -p "$out"
share=()
[[ $ranks -le $gpus ]] || share=(--share-devices)

if [[ -z ${EPS_GPU_BUILD:-} ]]; then
    cmake --preset cuda ${EPS_DEPS_DIR:+-DEPS_DEPS_DIR="$EPS_DEPS_DIR"}
    cmake --build --preset cuda -j "$(nproc)" --target eps-bench gpu_tests
fi
bench=$(realpath "$build/eps-bench")
"$bench" --list-devices

begin() { printf '\n=== %s (after %d s)\n' "$1" "$SECONDS"; }

# Runs on after a failure, which the exit status keeps.
status=0
try() { "$@" || { status=1; echo "test_gpu: failed: $*" >&2; }; }
run() { local n=$1; shift; try mpirun -n "$n" "$@"; }

kernels() {
    begin "kernels beside their twins, streams and lists"
    try "$build/test_kernels_cuda" -w NoAssertions
    try "$build/test_comm_cuda" -w NoAssertions
    try "$build/test_backend_cuda" -w NoAssertions
}

exchange() {
    begin "exchanges"
    local n
    for ((n = 1; n <= ranks; ++n)); do run "$n" "$build/mpi_comm_cuda" -w NoAssertions; done
}

cases() {
    begin "every strategy on the small checkpoints, f32 and bf16; the quickstart"
    local n dtype model files
    for ((n = 1; n <= ranks; ++n)); do
        for dtype in f32 bf16; do
            for model in tiny_v2 tiny_v2_lite; do
                files=tests/data/cases/$model
                run "$n" "$bench" --config tests/data/gpu-cases.json --dtype "$dtype" "${share[@]}" --overwrite \
                    --checkpoint "$files" --tokens "$files/reference.safetensors" \
                    --report "$out/cases-$model-$dtype-$n.json"
            done
        done
        run "$n" "$bench" --config configs/quickstart.json --backend cuda "${share[@]}" --overwrite \
            --report "$out/quickstart-$n.json"
    done
}

figures() {
    begin "figures"
    run "$ranks" "$bench" --config configs/gpu-moe.json "${share[@]}" --overwrite --report "$out/moe-$ranks.json" \
        --set /workload/batch=$((16 * ranks))
}

for part in "${parts[@]}"; do "$part"; done
(cd "$out" && tar -czf gpu-reports.tar.gz -- *.json)
exit "$status"
