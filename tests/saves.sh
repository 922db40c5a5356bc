#!/bin/sh
# saves.sh - what a checkpoint costs the training ('make saves'): with checkpoint.every_steps 5 the longest step, from one line of
# metrics.jsonl to the next, is at most 1.25 times the median one while checkpoints are written beside the training
# (checkpoint.async), and is longer where the training waits for them.  One rank, one thread computing; the disk's thread has
# another core.
#
# Anything else that runs on the machine makes a step longer, and nothing makes one shorter: of up to five pairs of runs one
# has to be within the bound.  All of those where the training waits have to be beyond it, or the bound says nothing.  For a
# quiet machine, and so not part of 'make test'.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario saves
prepare_sample
bound=1.25
num_tries=${SAVES_TRIES:-5}

# ratio FOLDER - the longest step over the median, without the first two, in which memory is touched for the first time.
ratio() {
    sed -n 's/^{"step": \([0-9]*\),.*"time": "[^T]*T\([0-9]*\):\([0-9]*\):\([0-9.]*\)Z".*/\1 \2 \3 \4/p' "$1/metrics.jsonl" |
        awk '{ now = $2 * 3600 + $3 * 60 + $4; if ($1 > 3) print now - last; last = now }' | sort -n |
        awk '{ gap[NR] = $1 } END { print gap[NR] / gap[int((NR + 1) / 2)] }'
}

# measure ASYNC - sets $longest.
measure() {
    rm -rf "${work:?}/$1"
    run 0 "$atelier" train tests/scenario/memory.yaml --set "data.train=$work/fiches.h5" --set "run.folder=$work/$1" \
        --set train.steps=19 --set checkpoint.every_steps=5 --set "checkpoint.async=$1" --set train.batch_sequences=16 \
        --set train.micro_sequences=4 --set data.sequence_tokens=32
    longest=$(ratio "$work/$1")
    waited=$(sed -n 's/^{"event": "checkpoint".*"waited_s": \([0-9.]*\).*/\1/p' "$work/$1/metrics.jsonl" | sed '$d' | tr '\n' ' ')
    rm -rf "${work:?}/$1"
}

within() {
    awk -v a="$1" -v b="$bound" 'BEGIN { exit !(a <= b) }'
}

tries=0 passed=no
while [ "$tries" -lt "$num_tries" ] && [ "$passed" = no ]; do
    tries=$((tries + 1))
    measure false
    beyond=$longest beyond_waited=$waited
    measure true
    say "pair $tries: the longest step is $longest times the median beside the training (stood still $waited s)," \
        "$beyond where it waits ($beyond_waited s)"
    if within "$beyond"; then
        fail "the training waited, and its longest step is within $bound: nothing is shown"
    fi
    if within "$longest"; then
        passed=yes
    fi
done
[ "$passed" = yes ] || fail "in none of $num_tries pairs the longest step is within $bound times the median"
