#!/bin/sh
# scenario_adapter_resident.sh - the model beside an adapter, whole on each rank or shared and gathered: chosen by itself, or as
# adapter.resident says; the same losses either way, and the memory that 'plan' says of both is what runs then plan.  What contradicts
# parallel.stage is refused.  Control: another seed has other losses.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario adapter_resident
prepare_sample
train 0 0 "$work/base" --set train.steps=2
adapt "$work/base/step-000002"

# planned FOLDER RESIDENT WORDS - trains so on 2 ranks; the log has WORDS.  Sets memory, in GiB.
planned() {
    train 0 2 "$work/$1" --set "adapter.resident=$2"
    expect_output "$3"
    memory=$(sed -n 's/^memory per rank, planned: \([0-9.]*\) GiB.*/\1/p' "$log")
}

planned auto auto "chosen: stage [012], "
planned always always "chosen: stage [012], "
whole=$memory
planned never never "; stage 3, "
shared=$memory
expect "the losses of auto and always" "$(losses "$work/auto")" "$(losses "$work/always")"
is_at_most "$(difference "$work/always" "$work/never")" 1e-5 || fail "a base that is gathered has other losses"
train 0 2 "$work/other" --set run.seed=99 --set adapter.resident=never
if is_at_most "$(difference "$work/always" "$work/other")" 1e-5; then
    fail "another seed has the same losses: the comparison sees nothing"
fi

run 0 "$atelier" plan "$tiny" --ranks 2 --set "data.train=$work/fiches.h5" --set data.valid=null --set adapter.resident=never
expect_output "^base +shared by the ranks, gathered a layer at a time; with all of it on each rank \(adapter.resident: always\)"
run 0 "$atelier" plan "$tiny" --ranks 2 --json --set "data.train=$work/fiches.h5" --set data.valid=null --set adapter.resident=never \
    --set train.micro_sequences=1
other=$(json_number other_bytes "$log")
run 0 "$atelier" plan "$tiny" --ranks 2 --json --set "data.train=$work/fiches.h5" --set data.valid=null --set parallel.stage=2 \
    --set train.micro_sequences=1
expect "the memory of the other way" "$(sed -n 's/^ *"device": \([0-9]*\)$/\1/p' "$log")" "$other"

train 2 2 "$work/refused" --set adapter.resident=always --set parallel.stage=3
expect_output "'adapter.resident' is always, and at parallel.stage 3"
train 2 2 "$work/refused" --set adapter.resident=never --set parallel.stage=1
expect_output "'adapter.resident' is never, and at parallel.stage 1"
train 2 2 "$work/refused" --set adapter.method=none --set adapter.rank=null --set adapter.alpha=null --set adapter.resident=never
expect_output "'adapter.resident' .*adapter.method"
say "whole $whole GiB a rank, shared $shared; the same losses"
