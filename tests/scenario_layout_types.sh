#!/bin/sh
# scenario_layout_types.sh - the same run on one rank and on three, in each compute type: losses equal as closely as the
# README promises for that type (promise 5).  Controls: another seed, and a loss that is wrong by twice the bound.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario layout_types
prepare_sample

for case in f32:1e-5 bf16:2e-5 f16:2e-5; do
    type=${case%:*} bound=${case#*:}
    for ranks in 1 3; do
        train 0 "$ranks" "$work/$type-$ranks" --set "train.compute=$type" --set checkpoint.every_steps=0 --set data.valid=null
        losses "$work/$type-$ranks" >"$work/$type-$ranks.losses"
    done
    is_within "$work/$type-3.losses" "$work/$type-1.losses" "$bound" ||
        fail "$type: three ranks differ from one by $worst, promised are $bound"
    say "$type: three ranks differ from one by $worst, promised are $bound"
    awk -v by="$bound" 'NR == 7 { $2 = sprintf("%.17g", $2 * (1 + 2 * by)) } { print }' "$work/$type-1.losses" >"$work/wrong.losses"
    if is_within "$work/wrong.losses" "$work/$type-1.losses" "$bound"; then
        fail "$type: a loss that is wrong by twice $bound was not noticed"
    fi
done
train 0 0 "$work/other" --set run.seed=8 --set checkpoint.every_steps=0 --set data.valid=null
losses "$work/other" >"$work/other.losses"
if is_within "$work/other.losses" "$work/f32-1.losses" 2e-5; then
    fail "another seed gives the same losses: the comparison sees nothing"
fi
