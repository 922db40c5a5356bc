#!/bin/sh
# scenario_base.sh - what lies at an unchanged model.path (or model.tokenizer) when a run goes on: other weights are refused,
# touched or moved files with the same weights are not; what the run does not need any more (the base is gone, damaged, a FIFO;
# its config.json is another one) is said in a line, and the run goes on with the losses of one that was never stopped.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario base
prepare_sample
reseal=${OUT:-build/cpu}/tests/tool_reseal
sed '/^model:/,/^$/d' "$tiny" >"$work/from_model.yaml"

train 0 0 "$work/made" --set train.steps=1
train 0 0 "$work/made" --set train.steps=2
for step in 1 2; do
    cp -r "$work/made/step-00000$step" "$work/model$step"
    rm -rf "$work/model$step/state" "$work/model$step/manifest.json"
done

# go CODE RANKS FOLDER [ARGUMENT...] - further trained from $work/base, whatever lies there.
go() {
    go_code=$1 go_ranks=$2 go_folder=$3
    shift 3
    run "$go_code" on_ranks "$go_ranks" "$atelier" train "$work/from_model.yaml" --set "run.folder=$go_folder" \
        --set "data.train=$work/fiches.h5" --set "model.path=$work/base" --set train.steps=8 "$@"
}
put_base() {
    rm -rf "$work/base" && cp -r "$1" "$work/base"
}

put_base "$work/model1"
go 0 0 "$work/straight" --set checkpoint.every_steps=4
go 0 0 "$work/half" --set train.steps=4

# goes_on RANKS PATTERN - this is said (none: nothing is said of model.path), and the losses are the same.
goes_on() {
    rm -rf "$work/run" && cp -r "$work/half" "$work/run"
    go 0 "$1" "$work/run"
    expect_output "resumed from '.*step-000004' after step 4"
    if [ "$2" = none ]; then
        ! grep -Eq "model.path|$work/base" "$log" || fail "something is said of a base that did not change"
    else
        expect_output "$2"
    fi
    if [ "$1" = 0 ]; then
        expect "losses" "$(losses "$work/straight")" "$(losses "$work/run")"
    fi
}
# refused RANKS PATTERN [ARGUMENT...] - the run folder is as it was.
refused() {
    refused_ranks=$1 pattern=$2
    shift 2
    rm -rf "$work/run" && cp -r "$work/half" "$work/run"
    go 2 "$refused_ranks" "$work/run" "$@"
    expect_output "^error: $pattern"
    expect "error lines" 1 "$(grep -c '^error: ' "$log")"
    expect "steps after a refusal" 4 "$(last_step "$work/run")"
}

for ranks in 0 2; do
    put_base "$work/model1"
    touch -r "$work/model1/config.json" "$work/base"/*
    goes_on "$ranks" none # other times, the same contents
    put_base "$work/model2"
    refused "$ranks" "model.path '$work/base' holds other weights than those that '.*step-000004' was trained from: .*choose another run.folder"
    put_base "$work/model1"
    head -c 1000 "$work/model1/model.safetensors" >"$work/base/model.safetensors"
    goes_on "$ranks" "^warning: model.path cannot be read any more \(.*base/model.safetensors.*: it is not needed"
    rm "$work/base/model.safetensors" && mkfifo "$work/base/model.safetensors"
    goes_on "$ranks" "^warning: model.path cannot be read any more \(.*base/model.safetensors.*FIFO.*: it is not needed"
    rm -rf "$work/base"
    goes_on "$ranks" "^model.path '$work/base' is not there any more: it is not needed"
    put_base "$work/model1"
    sed 's/"rms_norm_eps": [^,]*/"rms_norm_eps": 0.5/' "$work/model1/config.json" >"$work/base/config.json"
    ! cmp -s "$work/model1/config.json" "$work/base/config.json" || fail "the changed config.json is the same"
    rm "$work/base/tokenizer_config.json"
    goes_on "$ranks" "^warning: '$work/base/config.json' has changed since the run began: it keeps the one it began with"
    expect_output "^warning: '$work/base/tokenizer_config.json' is gone since the run began"
    say "an unchanged model.path on $ranks ranks (0: started alone): other weights refused, the rest said, the same losses"
done

# Once said it is known: of a base that came back with the same weights nothing is said, and nothing is refused.
put_base "$work/model1"
goes_on 0 none
go 0 0 "$work/run" --set train.steps=9
! grep -q 'model.path' "$log" || fail "something is said of a base that did not change since the last checkpoint"
put_base "$work/model2"
go 2 0 "$work/run" --set train.steps=10 # control: it would be noticed
expect_output "holds other weights"

# Each start is compared with the first one: a file that changed before is told again, one that came back is not.
put_base "$work/model1"
cp -r "$work/half" "$work/first"
sed 's/"rms_norm_eps": [^,]*/"rms_norm_eps": 0.5/' "$work/model1/config.json" >"$work/base/config.json"
go 0 0 "$work/first" --set train.steps=5
expect_output "^warning: '$work/base/config.json' has changed since the run began"
rm "$work/base/tokenizer_config.json"
go 0 0 "$work/first" --set train.steps=6
expect_output "^warning: '$work/base/config.json' has changed since the run began"
expect_output "^warning: '$work/base/tokenizer_config.json' is gone since the run began"
rm -rf "$work/base" && cp -r "$work/model1" "$work/moved"
sed 's/"rms_norm_eps": [^,]*/"rms_norm_eps": 0.5/' "$work/model1/config.json" >"$work/moved/config.json"
go 0 0 "$work/first" --set train.steps=7 --set "model.path=$work/moved"
expect_output "^model.path: '$work/base' is now '$work/moved', the same model"
expect_output "^warning: '$work/moved/config.json' has changed since the run began"
! grep -q 'tokenizer_config.json' "$log" || fail "something is said of a file that is as it was when the run began"
cp "$work/model1/config.json" "$work/moved/config.json"
go 0 0 "$work/first" --set train.steps=8 --set "model.path=$work/moved"
! grep -Eq 'model.path|since the run began' "$log" || fail "something is said of a base that is as it was when the run began"
say "each start is compared with what lay there when the run began"

# A checkpoint of a version that kept no times: the weights are compared once.
if [ -x "$reseal" ]; then
    cp -r "$work/half" "$work/older"
    state=$work/older/step-000004/state/training.json
    awk '/^  "base": / { skip = 1 } !skip { print } skip && /^  }/ { skip = 0 }' "$work/half/step-000004/state/training.json" >"$state"
    ! grep -q '"base"' "$state" || fail "the facts of the base are still there"
    "$reseal" "$work/older/step-000004" || fail "cannot make the manifest anew"
    put_base "$work/model2"
    go 2 0 "$work/older"
    expect_output "holds other weights"
    put_base "$work/model1"
    go 0 0 "$work/older"
    expect "losses" "$(losses "$work/straight")" "$(losses "$work/older")"
fi

# A base that is a run: it trains on, this run keeps what it began with.
put_base "$work/made"
rm -rf "$work/base/step-000002" && echo step-000001 >"$work/base/latest"
go 0 0 "$work/of_run" --set train.steps=4
rm -rf "$work/base" && cp -r "$work/made" "$work/base"
go 0 0 "$work/of_run"
expect_output "^the run '$work/base' of model.path has other checkpoints by now: this run goes on from its own"
say "a base that is a run may train on; a checkpoint of an older version is compared once"

# --- the tokenizer of a new model ---
cp data/sample/tokenizer/tokenizer.json "$work/tokenizer.json"
new() {
    new_code=$1
    shift
    run "$new_code" "$atelier" train "$tiny" --set "run.folder=$work/new" --set "data.train=$work/fiches.h5" \
        --set "model.tokenizer=$work/tokenizer.json" "$@"
}
new 0 --set train.steps=2
sed 's/"pattern"/"pattern" /' data/sample/tokenizer/tokenizer.json >"$work/other.json"
echo >>"$work/other.json"
mv "$work/other.json" "$work/tokenizer.json"
new 2 --set train.steps=3
expect_output "^error: .*model.tokenizer \"$work/tokenizer.json\" does not hold the tokenizer that '.*step-000002' was trained with"
rm "$work/tokenizer.json" && mkfifo "$work/tokenizer.json"
new 0 --set train.steps=3
expect_output '^model.tokenizer cannot be read any more \(.*FIFO.*: the run goes on with the one of its checkpoint'
rm "$work/tokenizer.json"
new 0 --set train.steps=4
expect_output '^model.tokenizer cannot be read any more \(.*No such file.*: the run goes on'
cp data/sample/tokenizer/tokenizer.json "$work/tokenizer.json"
new 0 --set train.steps=5 # control
! grep -q 'model.tokenizer' "$log" || fail "something is said of a tokenizer that did not change"
say "an unchanged model.tokenizer: another one refused, one that is gone said"
