#!/bin/sh
# check_gpu_scripts.sh - 'make gpu-check' and 'make gpu-bench' on the host's stand-in for a GPU, at tiny sizes, so that
# they are known to work when a GPU is at hand: training on both devices compared, every table filled but for the
# figures, and the way out without a GPU.
# SIMT_OUT: tree of 'make simt'.
cd "$(dirname "$0")/.." || exit 1
simt=${SIMT_OUT:-build/simt}
test -x "$simt/atelier" || { echo "'$simt/atelier' is not built: 'make simt' makes it"; exit 77; }
test -x "$simt/tests/gpu_bench" || { echo "'$simt/tests/gpu_bench' is not built"; exit 77; }
log=$(mktemp) && trap 'rm -f "$log"' EXIT
fail() { echo "$1; its output:"; sed 's/^/    /' "$log"; exit 1; }

PARTS=train SMALL=1 tests/gpu/gpu_check.sh "$simt" >"$log" 2>&1 || fail "gpu_check fails"
grep -q '^5 passed, 0 failed, 0 skipped$' "$log" || fail "gpu_check does not say what it did"

tests/gpu/gpu_bench.sh "$simt" --smoke >"$log" 2>&1 || fail "gpu_bench fails"
for family in 'Matrix products' Attention RMSNorm SwiGLU RoPE embedding cross-entropy AdamW 'gradient norm' 'Training steps'; do
    grep -q "$family" "$log" || fail "gpu_bench has no line for '$family'"
done
test "$(grep -c '| ran |' "$log")" -ge 30 || fail "gpu_bench ran too little"
if grep -qE '\| [0-9.]+ (ms|TFLOP/s|TB/s|%) \| [^|]*[0-9]' "$log"; then fail "gpu_bench prints figures of a smoke run"; fi

# Without a GPU, and with a GPU that fails: neither may look like success.
SIMT_GPUS=0 tests/gpu/gpu_check.sh "$simt" >"$log" 2>&1
test $? -eq 77 || fail "gpu_check does not skip without a GPU"
SIMT_GPUS=0 tests/gpu/gpu_bench.sh "$simt" --smoke >"$log" 2>&1
test $? -eq 77 || fail "gpu_bench does not skip without a GPU"
if SIMT_FAULT=launch:3 PARTS=train SMALL=1 tests/gpu/gpu_check.sh "$simt" >"$log" 2>&1; then
    fail "gpu_check does not notice launches that fail"
fi
