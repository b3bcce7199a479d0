#!/usr/bin/env bash
# Builds (or takes a program built elsewhere), tests and measures the CUDA backend on this machine's GPUs.
# Usage: scripts/test_gpu.sh [GPUS] [PART...]
#   parts that test:    kernels exchange cases odd memcheck racecheck
#   parts that measure: calibrate moe model tables benches     (figures: the last four; without a part: everything)
# What a measuring part runs, with 16384 tokens a GPU unless said:
#   moe      configs/gpu-moe.json at 16384 and 4096 tokens, gpu-wire.json, gpu-attention.json by sequence length,
#            a timeline of gpu-lengths.json; one GPU also takes a quarter of the experts, as a GPU of 4 has them
#   model    configs/gpu-model.json: DeepSeek-V2 by sequence length, 15 layers a GPU (all 60 on 4)
#   tables   configs/gpu-lengths.json by sequence length, gpu-experts.json by rows an expert, gpu-strategies.json
#   calibrate  times that auto decides by (at most 60 s), auto beside fixed choices in configs/gpu-auto.json by load,
#            the simulator with these times beside measured ones
#   benches  kernels beside a copy of memory, products and attention, exchanges, submission
# Meant to end within 9 minutes a part on 4 GPUs, 12 for all that measure.
# EPS_GPU_BUILD: folder of a finished build; otherwise build/cuda is built, with EPS_DEPS_DIR's headers where it is set.
# EPS_GPU_RANKS: more ranks than GPUs are tried with --share-devices (default: GPUS).
# EPS_GPU_OUT: folder that gets gpu-reports.tar.gz, all reports and tables (default: build/gpu-reports, where they lie).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/mpi_env.sh
gpus=${1:-$(nvidia-smi -L | wc -l)}
shift || true
parts=()
for part in "${@:-all}"; do
    case $part in
        all) parts+=(kernels exchange cases odd memcheck racecheck calibrate moe model tables benches) ;;
        figures) parts+=(moe model tables benches) ;;
        kernels | exchange | cases | odd | memcheck | racecheck | calibrate | moe | model | tables | benches) parts+=("$part") ;;
        *) echo "test_gpu: no part '$part': see the head of scripts/test_gpu.sh" >&2; exit 2 ;;
    esac
done
ranks=${EPS_GPU_RANKS:-$gpus}
build=${EPS_GPU_BUILD:-build/cuda}
out=build/gpu-reports
export -n EPS_GPU_BUILD EPS_GPU_OUT EPS_GPU_RANKS EPS_DEPS_DIR  # reports hold variables that begin with EPS_
mkdir -p "$out"
share=()
[[ $ranks -le $gpus ]] || share=(--share-devices)

if [[ -z ${EPS_GPU_BUILD:-} ]]; then
    cmake --preset cuda ${EPS_DEPS_DIR:+-DEPS_DEPS_DIR="$EPS_DEPS_DIR"}
    cmake --build --preset cuda -j "$(nproc)" --target eps-bench gpu_tests
    echo "test_gpu: built in $SECONDS s"
fi
bench=$build/eps-bench
"$bench" --list-devices

# Runs on after a failure, which the part's verdict keeps; what hangs is one.
failed=0
limited=(timeout --foreground -k 10 300)
try() { "${limited[@]}" "$@" || { failed=1; echo "test_gpu: failed: $*" >&2; }; }
run() { local n=$1; shift; try mpirun -n "$n" "$@"; }

# measure CONFIG NAME [FLAG...]: a report NAME.json on all ranks; a case keeps its tokens a GPU through --batch.
measure() {
    local config=$1 name=$2 begin=$SECONDS
    shift 2
    run "$ranks" "$bench" --config "configs/$config.json" --name "gpu-$name" "${share[@]}" --overwrite \
        --report "$out/$name.json" "$@"
    echo "test_gpu: $name took $((SECONDS - begin)) s"
}

# table NAME COMMAND...: what a benchmark prints, kept as NAME.txt.
table() {
    local name=$1 begin=$SECONDS
    shift
    if ! "${limited[@]}" "$@" | tee "$out/$name.txt"; then
        failed=1
        echo "test_gpu: failed: $*" >&2
    fi
    echo "test_gpu: $name took $((SECONDS - begin)) s"
}

# Kernels beside their twins, streams and lists.
kernels() {
    try "$build/test_kernels_cuda" -w NoAssertions
    try "$build/test_comm_cuda" -w NoAssertions
    try "$build/test_backend_cuda" -w NoAssertions
}

exchange() {
    local n
    for ((n = 1; n <= ranks; ++n)); do run "$n" "$build/mpi_comm_cuda" -w NoAssertions; done
}

# Every strategy on the small checkpoints, f32 and bf16; the quickstart.
cases() {
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
            --report "$out/quickstart-$n.json" --max-seconds 0.3 --set /measure/min_repetitions=1
    done
}

# Sequences of 1 to 8192 tokens in one batch; skewed and hot experts; ranks, and nearly all experts, without tokens.
odd() {
    local -A loads=(
        [lengths]='/workload/seed=1'
        [zipf]='/workload/routing={"kind": "zipf", "exponent": 1.2}'
        [hot]='/workload/routing={"kind": "hot", "experts": [3, 5], "share": 0.3}'
        [one-sequence]='/workload/sequence_length=[777]'
        [two-tokens]='/workload/sequence_length=[2]'
    )
    local load batch
    for load in "${!loads[@]}"; do
        batch=6
        [[ $load != one-sequence && $load != two-tokens ]] || batch=1
        run "$ranks" "$bench" --config tests/data/gpu-odd.json "${share[@]}" --overwrite --batch "$batch" \
            --set "${loads[$load]}" --report "$out/odd-$load.json"
    done
}

sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)

# Every kind of op on 1 and 2 ranks; exchanges by copy engines (the tool does not follow NCCL between processes).
memcheck() {
    local n
    for ((n = 1; n <= (ranks < 2 ? ranks : 2); ++n)); do
        OMP_WAIT_POLICY=passive run "$n" "$sanitizer" --tool memcheck --error-exitcode 9 \
            "$bench" --config tests/data/gpu-sanitize.json "${share[@]}" --overwrite --report "$out/memcheck-$n.json"
    done
}

# This project's kernels beside their twins. Not where cuBLASLt or CUTLASS multiplies: their kernels fail to launch under
# this tool ("failed to handle a hardware exception", CUDA 13.0 on an H200), also where it does not look at them.
racecheck() {
    try "$sanitizer" --tool racecheck --kernel-name kns=N3eps --error-exitcode 9 "$build/test_kernels_cuda" '~[products]~[long]'
    try "$sanitizer" --tool racecheck --kernel-name kns=N3eps --error-exitcode 9 "$build/test_comm_cuda"
}

# modelled NAME [FLAG...]: a report of gpu-auto beside what the simulator makes of the same with the times of calibrate.
modelled() {
    local name=$1
    shift
    try "$bench" --config configs/gpu-auto.json --name gpu-modelled --backend sim --set /ranks="$ranks" \
        --calibration "$out/calibration-$ranks.json" --overwrite --report "$out/modelled-$name.json" "$@"
    table "modelled-$name" python3 scripts/compare_model.py "$out/$name.json" "$out/modelled-$name.json"
}

# In a cache of its own, so that all is measured. On one GPU, where nothing travels, auto chooses the kind of GEMM.
calibrate() {
    local -x XDG_CACHE_HOME=$PWD/$out/cache
    rm -rf "$XDG_CACHE_HOME"
    local begin=$SECONDS load length batch=$((16 * ranks)) names=(uniform zipf hot) cases=()
    local -A loads=(
        [uniform]='{"kind": "uniform"}'
        [zipf]='{"kind": "zipf", "exponent": 1.2}'
        [hot]='{"kind": "hot", "experts": [0, 2], "share": 0.4}'
    )
    run "$ranks" "$bench" calibrate --config configs/gpu-auto.json --scope layer --batch $batch "${share[@]}"
    echo "test_gpu: calibration took $((SECONDS - begin)) s"
    [[ $((SECONDS - begin)) -le 60 ]] || { failed=1; echo "test_gpu: failed: more than 60 s" >&2; }
    try cp "$XDG_CACHE_HOME"/eps-bench/*.json "$out/calibration-$ranks.json"
    if [[ $ranks -eq 1 ]]; then
        names=(uniform zipf)
        cases=(--set '/cases=[{"strategy": "eps"}, {"strategy": "eps", "chunks": 1, "gemm": ["group", "dense"]}]')
    fi
    for load in "${names[@]}"; do
        measure gpu-auto "auto-$load" --batch $batch --set "/workload/routing=${loads[$load]}" "${cases[@]}"
    done
    modelled auto-uniform --batch $batch "${cases[@]}"
    if [[ $ranks -eq 1 ]]; then
        for length in 128 4096; do
            measure gpu-auto "auto-$length" --batch $batch --sequence-length $length "${cases[@]}"
            modelled "auto-$length" --batch $batch --sequence-length $length "${cases[@]}"
        done
    fi
    table auto python3 scripts/auto_choice_table.py "$out"/auto-*.json
    cases=(--scope layer --set '/cases=[{"strategy": "ep", "gemm": "group"}]')
    measure gpu-auto layer --batch $batch "${cases[@]}"
    modelled layer --batch $batch "${cases[@]}"
    rm -rf "$XDG_CACHE_HOME"
}

# A GPU alone exchanges nothing: all schedules are one.
schedules=()
[[ $ranks -gt 1 ]] || schedules=(--set '/cases=[{"strategy": "ep", "gemm": ["group", "dense"]}]')

moe() {
    local batch
    measure gpu-attention attention-1024 --batch $((16 * ranks))
    measure gpu-attention attention-4096 --batch $((4 * ranks)) --sequence-length 4096
    measure gpu-moe moe-16384 --batch $((16 * ranks)) "${schedules[@]}"
    measure gpu-moe moe-4096 --batch $((4 * ranks)) "${schedules[@]}"
    if [[ $ranks -eq 1 ]]; then
        for batch in 16 4; do
            measure gpu-moe "moe-$((1024 * batch))-quarter" --batch $batch --set /model/overrides/n_routed_experts=40 "${schedules[@]}"
        done
        return 0
    fi
    measure gpu-wire wire --batch $((16 * ranks))
    measure gpu-lengths timeline --batch $((16 * ranks)) --timeline "$out/timeline.trace.json" --max-seconds 0.5 \
        --set '/cases=[{"strategy": "ep", "gemm": "group", "overlap": true}, {"strategy": "eps", "gemm": "group", "chunks": 5}]'
}

model() {
    local layers=$((ranks < 4 ? 15 * ranks : 60))
    local flags=(--layers "$layers" --load-margin 1.5 "${schedules[@]}") # gates of 60 layers: all must fit
    measure gpu-model model-1024 --batch $((16 * ranks)) "${flags[@]}"
    measure gpu-model model-4096 --batch $((4 * ranks)) --sequence-length 4096 "${flags[@]}"
}

tables() {
    local length rows experts=$(((20 * ranks + 7) / 8 * 8)) # about 20 a GPU, in 8 groups; 6 of them for a token
    for length in 1024 2048 4096 8192; do
        measure gpu-lengths "lengths-$length" --batch $((16384 * ranks / length)) --sequence-length "$length" "${schedules[@]}"
    done
    for rows in 256 1024 3072; do
        measure gpu-experts "experts-$rows" --batch "$ranks" --sequence-length $((rows * experts / ranks / 6)) \
            --set /model/overrides/n_routed_experts="$experts" "${schedules[@]}"
    done
    [[ $ranks -gt 1 ]] || return 0
    measure gpu-strategies strategies --batch $((16 * ranks))
}

benches() {
    table kernels "$build/bench_kernels_cuda"
    table gemms "$build/bench_gemms" 0.3
    table exchanges mpirun -n "$ranks" "$build/bench_device_exchange"
    table submission mpirun -n "$ranks" "$build/bench_submission"
}

# Reports name no folder of this machine. After each part, so that nothing is lost when a later one is stopped.
archive=${EPS_GPU_OUT:-$out}/gpu-reports.tar.gz
mkdir -p "$(dirname "$archive")"
pack() {
    find "$out" -maxdepth 1 -name '*.json' -exec sed -i "s|$PWD/||g; s|${HOME:-/root}/|~/|g" {} +
    find "$out" -maxdepth 1 \( -name '*.json' -o -name '*.txt' \) -printf '%f\n' | sort | tar -C "$out" -czf "$archive" -T -
}

verdicts=()
status=0
for part in "${parts[@]}"; do
    printf '\n=== %s (after %d s)\n' "$part" "$SECONDS"
    failed=0
    begin=$SECONDS
    "$part"
    verdicts+=("$part $([[ $failed -eq 0 ]] && echo passed || echo FAILED) in $((SECONDS - begin)) s")
    [[ $failed -eq 0 ]] || status=1
    pack
done

size=$(stat -c %s "$archive")
if [[ $size -gt $((16 << 20)) ]]; then
    echo "test_gpu: the archive holds $size bytes, more than 16 MiB" >&2
    status=1
fi
printf 'test_gpu: %s; %s holds %d KiB; %d s in all\n' \
    "$(IFS=';'; printf '%s' "${verdicts[*]}" | sed 's/;/; /g')" "$(basename "$archive")" $((size >> 10)) "$SECONDS"
exit "$status"
