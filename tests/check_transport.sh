#!/bin/sh
# check_transport.sh - a rank that is lost in a collective of NCCL: the others end in time, and say in which one;
# hosts without a GPU or with an old driver
# needs test_ranks_transport_cuda, test_ranks_windows and test_ranks_gpu_map, built by 'make simt' beside $OUT
# shellcheck source=configs/ranks.sh
. "$(dirname "$0")/../configs/ranks.sh"
out=${OUT:-build/cpu}
case $out in
build/cpu*) simt=build/simt${out#build/cpu} ;;
*) simt=$out-simt ;;
esac
program=$simt/tests/test_ranks_transport_cuda
test -x "$program" || { echo "'$program' is not built"; exit 77; }
log=$(mktemp) && trap 'rm -f "$log"' EXIT
fail() { echo "$1; its output:"; sed 's/^/    /' "$log"; exit 1; }

# run RANKS FAULT WHAT - the exit code in $code; 124: it hangs.  The program's own timeout is 2 s.
run() {
    SIMT_NCCL_FAULT=$2 timeout -k 5 20 mpirun -n "$1" "$program" "$3" >"$log" 2>&1
    code=$?
    test $code -ne 124 || fail "with '$2' $3 hangs"
}
ends() { test $code -ne 0 || fail "with $1 all seemed well"; }
says() { grep -Eq "$1" "$log" || fail "expected '$1'"; }
gpu="GPU [0-9]+ \(pretend .*GPU-[0-9a-f-]+\)"
waited="$gpu waited 2\.[0-9] s in"

run 3 "" steps
test $code -eq 0 || fail "undisturbed steps fail"

# Lost inside the step: rank, host, GPU, step and collective are named.
run 3 1:absent:7 steps
ends "an absent rank"
says "^\[rank [02]/3 [^ ]+ step 0\] fatal: $waited '(all-gather|reduce-scatter) of 3600 bytes, transfer [0-9]+', for rank 1 \\(.*, while starting: "
run 3 2:stuck:17 steps
ends "a stuck GPU"
says "^\[rank [0-2]/3 [^ ]+ step 0\] fatal: $waited '(all-gather|reduce-scatter) of 3600 bytes, transfer [0-9]+'"
run 3 1:killed:12 steps
ends "a killed rank"
run 3 0:error:9 steps
ends "an error of NCCL"
says "^\[rank 0/3 [^ ]+ step 0\] fatal: NCCL on $gpu: remote process exited .*: simt: a planted error, in '"

# Lost at the start.
run 3 1:absent:0 steps
ends "a rank that does not start"
says "^\[rank [02]/3 .*fatal: $waited 'start of NCCL'"
run 3 1:error:0 steps
ends "NCCL that does not start"
says "^\[rank 1/3 .*fatal: NCCL on $gpu: unhandled system error: simt: a planted error, in 'start of NCCL'"

# The host never gets far ahead of a GPU that hangs.
run 2 "" ahead
test $code -eq 0 || fail "transfers that nobody waits for fail"
says "^far ahead$"
run 2 1:stuck:3 ahead
ends "a stuck GPU"
says "fatal: $waited 'reduce-scatter of 2400 bytes, transfer 3'"
! grep -q "far ahead" "$log" || fail "the host went on while its GPU was stuck"

# With two transports on a device the one that misses a transfer speaks.
run 4 1:stuck:2 grid
ends "a stuck GPU in the sum across"
says "^\[rank [13]/4 .*fatal: $waited 'sum of 1200 bytes, transfer 1'"
! grep -q "own work" "$log" || fail "the wrong transport spoke"

# Ranks that disagree on a collective are told, by the stand-in; NCCL itself would hang.
run 2 "" different
ends "a disagreement"
says "collective 1: this rank calls reduce-scatter of (300, rank 1 calls .* 299|299, rank 0 calls .* 300), in" # the later one
program=$simt/tests/test_ranks_windows
run 2 "" places
ends "ranks that gather into different places of a window"
says "collective 1: received at (0 of a window, by rank 1 at 2400|2400 of a window, by rank 0 at 0), in 'all-gather of 2400 bytes"
program=$simt/tests/test_ranks_transport_cuda
run 2 "" pieces
ends "a disagreement on a piece"
says "this rank (expects 300 bytes, rank 1 sends 304|sends 304 bytes, rank 0 expects 300), in 'all-to-all of "
# A rank that is lost in an exchange.
run 3 1:absent:1 pieces
ends "an absent rank"
says "^\[rank [02]/3 .*fatal: $waited 'all-to-all of 1800 bytes, transfer 1'"
# no_gpu VARIABLE=VALUE TEXT - what choosing a GPU says there.
no_gpu() {
    env "$1" "$simt/tests/test_ranks_gpu_map" choose >"$log" 2>&1
    test $? -eq 2 || fail "with $1 a GPU was found"
    says "$2"
}
no_gpu SIMT_GPUS=0 "^error: no GPU on this host: ask for one, or set 'run.device: cpu'$"
no_gpu SIMT_DRIVER=12040 "the NVIDIA driver is too old: it knows CUDA 12.4, this atelier was built with [0-9]+\.[0-9]+;"
no_gpu SIMT_DRIVER=0 "^error: no NVIDIA driver on this host: "
exit 0
