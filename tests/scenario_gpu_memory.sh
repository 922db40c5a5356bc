#!/bin/sh
# scenario_gpu_memory.sh - a run that does not fit into its GPU is refused before it takes any memory, with its plan, the
# largest consumers and ways to shrink; what CUDA, NCCL and cuBLASLt take for themselves is kept free.  On the host
# stand-in of CUDA, whose GPU is as large as SIMT_MEMORY_BYTES says.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario gpu_memory
prepare_sample
atelier=${SIMT_OUT:-build/simt}/atelier
[ -x "$atelier" ] || skip "no '$atelier': the CUDA path is not built for this host (make simt)"

# on_gpu MIB WANTED_CODE - one step on a GPU of that size.
on_gpu() {
    SIMT_MEMORY_BYTES=${1}M
    export SIMT_MEMORY_BYTES
    train "$2" 0 "$work/run-$1" --set train.steps=1 --set data.sequence_tokens=16 --set train.batch_sequences=1 \
        --set train.micro_sequences=1 --set valid.sequences=1
}

on_gpu 4096 0
needed_mib=$(sed -n 's/^memory per rank, planned: \([0-9.]*\) GiB.*/\1/p' "$log" | awk '{ printf "%.0f\n", $1 * 1024 }')
expect "a plan of a few MiB" 1 "$((needed_mib > 8 && needed_mib < 200))"

# Free is the GPU less its own guard bands: within 2 MiB.
on_gpu $((needed_mib + 1024 + 4)) 0
on_gpu $((needed_mib + 1024 - 4)) 2
expect_output '^error: a rank needs 0\.[0-9]* GiB and 1.00 more for CUDA, NCCL and cuBLASLt, its device has 1\.'
expect_output 'in GiB: parameters .*optimizer .*activations .*scratch '
expect_output 'to shrink: lower train.micro_sequences, set train.recompute: layer, or split over more ranks'
on_gpu $((needed_mib + 4)) 2 # the plan alone would fit
say "a plan of $needed_mib MiB: taken with 1 GiB to spare, refused with less"
