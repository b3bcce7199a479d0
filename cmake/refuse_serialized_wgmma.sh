#!/bin/sh
# Runs a CUDA compiler and fails where it serialises tensor-core instructions (ptxas C7510, given as information only):
# such a kernel is right and slow, and nobody would notice.
log=$(mktemp)
"$@" >"$log" 2>&1
status=$?
cat "$log" >&2
if grep -q C7510 "$log"; then
    status=1
    while [ $# -gt 1 ]; do
        [ "$1" = -o ] && rm -f "$2"
        shift
    done
fi
rm -f "$log"
exit "$status"
