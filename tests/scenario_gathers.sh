#!/bin/sh
# scenario_gathers.sh - parallel.gathers: parameters that copy engines gather, and NCCL's kernels, on the host stand-ins of CUDA and NCCL: the
# same bits, with graphs and without, on stages 2 and 3; a window that one rank is refused is told once, and all go on by kernels.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario gathers
prepare_sample
on_cpu=$atelier
atelier=${SIMT_OUT:-build/simt}/atelier
[ -x "$atelier" ] || skip "no '$atelier': the CUDA path is not built for this host (make simt)"
by_engines='^gathers: by copy engines \(NCCL 2.28.9, symmetric windows\), no multiprocessor held$'

# go NAME [ARGUMENT...] - two short steps on two ranks in $work/NAME; the algorithms of products do not ask what runs beside them.
go() {
    name=$1
    shift
    train 0 2 "$work/$name" --set train.steps=2 --set data.sequence_tokens=16 --set train.batch_sequences=4 \
        --set train.micro_sequences=1 --set valid.sequences=2 --set run.gemm_choices=none \
        --set run.start_timeout_s=20 "$@"
}

# weights NAME - of the last checkpoint, to the bit.
weights() {
    cksum <"$work/$1/step-000002/state/master.safetensors"
}

# expect_same WHAT A B - two runs: losses and weights to the bit.
expect_same() {
    expect "$1: losses" "$(losses "$work/$2")" "$(losses "$work/$3")"
    expect "$1: weights" "$(weights "$2")" "$(weights "$3")"
}

# expect_told TEXT - a line of the log says so, and no other how gathers go.
expect_told() {
    expect_output "$1"
    expect "lines of the log on gathers" 1 "$(grep -c '^gathers: ' "$log")"
}

for stage in 2 3; do
    go "engines-$stage" --set "parallel.stage=$stage"
    expect_told "$by_engines"
    go "kernels-$stage" --set "parallel.stage=$stage" --set parallel.gathers=kernels
    expect "words on gathers that nothing was asked of" 0 "$(grep -c '^gathers: ' "$log")"
    expect_same "stage $stage, by copy engines and by kernels" "engines-$stage" "kernels-$stage"
done
go plain-3 --set parallel.stage=3 --set run.graphs=false
expect_same "with graphs and without" engines-3 plain-3
go other --set optimizer.learning_rate=1.01e-3 --set parallel.stage=3
if [ "$(weights engines-3)" = "$(weights other)" ]; then
    fail "another learning rate has the same weights: the comparison sees nothing"
fi
say "stages 2 and 3: the same bits by copy engines and by kernels"

SIMT_NCCL_WINDOWS=refused:1 go refused --set parallel.stage=3
expect_told "^gathers: by NCCL's kernels, 12 multiprocessors: NCCL refused a symmetric window \(rank [01]\)$"
expect_same "a window that one rank is refused" kernels-3 refused
SIMT_NCCL_WINDOWS=version:22605 go old --set parallel.stage=3
expect_told "^gathers: by NCCL's kernels, 12 multiprocessors: NCCL 2.28.3 or later is needed \(rank [01]\)$"
expect_same "an older NCCL" kernels-3 old
say "refused on one rank, and an older NCCL: told once, by kernels, the same bits"

# Stages whose gathers run beside nothing ask for nothing.
go one --set parallel.stage=1
expect "words on gathers at stage 1" 0 "$(grep -c '^gathers: ' "$log")"
atelier=$on_cpu
train 0 2 "$work/cpu" --set train.steps=1 --set data.sequence_tokens=16 --set train.batch_sequences=4 --set parallel.gathers=kernels
expect_output '^parallel.gathers has no effect: this run computes on CPUs'
