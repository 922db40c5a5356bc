#!/bin/sh
# scenario_memory.sh - what sharding is for: at stage 3 on 4 ranks, parameters, gradients and optimizer state take a
# quarter of what one rank takes; and what a rank really took is what the plan said before the first step.
# Taken is the peak of resident memory (VmHWM, in metrics.jsonl), less that of a run of a model with next to no
# parameters: program, libraries, MPI.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario memory
prepare_sample

# planned_gib NAME... - the sum of these parts of the plan in the last output.
planned_gib() {
    for part in "$@"; do
        sed -n "s/^memory per rank, planned: .*[(, ]$part \\([0-9.]*\\)[,)].*/\\1/p" "$log"
    done | awk '{ sum += $1 } END { print sum }'
}

planned_total_gib() {
    sed -n 's/^memory per rank, planned: \([0-9.]*\) GiB.*/\1/p' "$log"
}

# peak_gib FOLDER - of rank 0, after the last step.
peak_gib() {
    grep '^{"step"' "$1/metrics.jsonl" | tail -n 1 | sed 's/.*"peak_memory_bytes": \([0-9]*\).*/\1/' |
        awk '{ printf "%.4f\n", $1 / 1073741824 }'
}

# measure RANKS STAGE - sets states (parameters, gradients, optimizer), planned, taken; all in GiB per rank.
measure() {
    common="--set data.train=$work/fiches.h5 --set parallel.stage=$2"
    # shellcheck disable=SC2086
    run 0 on_ranks "$1" "$atelier" train tests/scenario/memory.yaml $common --set "run.folder=$work/bare-$1-$2" \
        --set model.architecture.width=8 --set model.architecture.heads=1 --set model.architecture.layers=1 \
        --set model.architecture.ffn_width=8
    bare_planned=$(planned_total_gib)
    bare=$(peak_gib "$work/bare-$1-$2")
    # shellcheck disable=SC2086
    run 0 on_ranks "$1" "$atelier" train tests/scenario/memory.yaml $common --set "run.folder=$work/full-$1-$2"
    states=$(planned_gib parameters gradients optimizer)
    planned=$(awk -v a="$(planned_total_gib)" -v b="$bare_planned" 'BEGIN { print a - b }')
    taken=$(awk -v a="$(peak_gib "$work/full-$1-$2")" -v b="$bare" 'BEGIN { print a - b }')
    say "$1 ranks, stage $2: parameters + gradients + optimizer $states GiB per rank; planned $planned, taken $taken GiB" \
        "more than a model of no size (which took $bare)"
    rm -rf "$work/bare-$1-$2" "$work/full-$1-$2"
}

# is_near A B - within 10 % of B.
is_near() {
    awk -v a="$1" -v b="$2" 'BEGIN { difference = a - b; exit !(b > 0 && difference <= 0.1 * b && -difference <= 0.1 * b) }'
}

measure 1 0
whole=$states
is_near "$taken" "$planned" || fail "1 rank: planned $planned GiB, taken $taken GiB"
grep '^model: ' "$log"
measure 4 3
quarter=$(awk -v a="$whole" 'BEGIN { print a / 4 }')
is_near "$states" "$quarter" || fail "4 ranks at stage 3 plan $states GiB each, a quarter of one rank's is $quarter"
is_near "$taken" "$planned" || fail "4 ranks at stage 3: planned $planned GiB, taken $taken GiB"
# The control: two ranks take a half each, which is not a quarter.
measure 2 3
if is_near "$states" "$quarter"; then
    fail "2 ranks take a quarter each: the comparison sees nothing"
fi
