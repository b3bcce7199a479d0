#!/bin/sh
# Runs configs/auto-choice.json over loads, batches and numbers of ranks, one report each, then prints the table.
# Paths are seen from the project's root.
#   scripts/auto_choice.sh [EPS_BENCH] [FOLDER] [RANKS...]
set -eu
cd "$(dirname "$0")/.."
. scripts/mpi_env.sh
bench=${1:-build/cpu/eps-bench}
folder=${2:-results/auto-choice}
[ $# -gt 2 ] && shift 2 || set -- 2 4
for ranks in "$@"; do
    for load in uniform zipf hot; do
        case $load in
            uniform) routing='{"kind": "uniform"}' ;;
            zipf) routing='{"kind": "zipf", "exponent": 1.2}' ;;
            hot) routing='{"kind": "hot", "experts": [0, 2], "share": 0.4}' ;;
        esac
        for tokens in 32 256; do
            # One kind of GEMM: where a rank has one thread they are the same calls.
            # INVALID (status 4) and NOISY cases are in the report too: the table says so.
            mpirun -n "$ranks" "$bench" --config configs/auto-choice.json --sequence-length "$tokens" \
                --set "/workload/routing=$routing" --set '/cases/2/gemm="group"' --report "$folder/$ranks-ranks-$load-$tokens.json" --overwrite \
                || [ $? -eq 4 ]
        done
    done
done
python3 scripts/auto_choice_table.py "$folder"/*.json
