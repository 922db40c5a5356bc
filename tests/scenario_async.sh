#!/bin/sh
# scenario_async.sh - checkpoint.async: what is written beside the training has the bytes of what the training waits for, of a model
# and of an adapter, on one and two ranks; a run that is stopped keeps the checkpoint that was under way; one that cannot
# be written ends the run with one line.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario async
prepare_sample

# state_of FOLDER - SHA-256 of all that does not hold a date or the key itself; the id and the parent of each checkpoint.
state_of() {
    (
        cd "$1" || exit 1
        find step-* -type f ! -name provenance.json ! -name README.md ! -name manifest.json ! -name training.json \
            -exec sha256sum {} + | sort -k 2
        grep -ho '"\(id\|step\)": "*[0-9a-f]*' step-*/manifest.json
    )
}

# waited FOLDER - seconds that the training stood still for all checkpoints but the last of a start.
waited() {
    sed -n 's/^{"event": "checkpoint".*"waited_s": \([^,}]*\).*/\1/p' "$1/metrics.jsonl" | sed '$d' |
        awk '{ sum += $1 } END { print sum + 0 }'
}

# compare NAME RANKS ARGUMENT... - three runs: beside, waited for, and as 'auto' chooses.
compare() {
    name=$1 ranks=$2
    shift 2
    for async in true false auto; do
        train 0 "$ranks" "$work/$name-$async" --set train.steps=9 --set checkpoint.every_steps=2 \
            --set checkpoint.keep=3 --set "checkpoint.async=$async" "$@"
        [ "$async" = false ] || expect_output '^checkpoints: written while the training goes on, from a copy of '
        expect "checkpoints of $name" "step-000006 step-000008 step-000009" \
            "$(cd "$work/$name-$async" && echo step-*)"
        expect "lines of checkpoints" 5 "$(grep -c '"event": "checkpoint"' "$work/$name-$async/metrics.jsonl")"
    done
    for async in true auto; do
        expect "bytes of the checkpoints of $name, async $async" "$(state_of "$work/$name-false")" \
            "$(state_of "$work/$name-$async")"
    done
    expect "losses of $name" "$(losses "$work/$name-false")" "$(losses "$work/$name-true")"
    say "$name: $(state_of "$work/$name-true" | grep -c safetensors) files of tensors with the same SHA-256;" \
        "stood still $(waited "$work/$name-true") s beside, $(waited "$work/$name-false") s where it waits"
}

compare one 0
compare two 2 --set parallel.stage=3 --set train.compute=bf16
# The control: another seed has other bytes.
train 0 0 "$work/other" --set train.steps=9 --set checkpoint.every_steps=2 --set checkpoint.keep=3 --set run.seed=8
[ "$(state_of "$work/other")" != "$(state_of "$work/one-true")" ] || fail "another seed has the same bytes: nothing is compared"

sed '/^model:/,/^data:/{/^data:/!d}' "$tiny" >"$work/from_model.yaml"
new_model=$tiny
tiny=$work/from_model.yaml
compare adapter 2 --set "model.path=$work/one-false/step-000009" --set adapter.method=lora --set adapter.rank=4
[ -e "$work/adapter-true/step-000009/adapter_model.safetensors" ] || fail "the adapter's checkpoint is no folder of an adapter"
tiny=$new_model

# A signal while one is under way: that one and the last are complete, and the run goes on as if nothing had happened.
folder=$work/signal
train_start 2 "$folder" --set train.steps=100000 --set checkpoint.every_steps=1 --set checkpoint.keep=0
wait_for_step "$folder" 6
kill -USR1 "$started"
train_end 120
expect "exit code after a signal" 75 "$code"
reached=$(last_step "$folder")
expect_complete "$folder" "$reached"
expect "lines about checkpoints that waited for the one before" 1 "$(grep -c 'the training waited .* for the checkpoint of step' "$folder/log.txt")"
expect "checkpoints" "$reached" "$(find "$folder"/step-* -maxdepth 1 -name manifest.json | wc -l)"
train 0 2 "$folder" --set "train.steps=$((reached + 2))"
train 0 2 "$work/straight" --set "train.steps=$((reached + 2))"
expect "losses over the signal" "$(losses "$work/straight")" "$(losses "$folder")"
say "a signal after step $reached: all $reached checkpoints are there, and the run went on with the same losses"

# One that cannot be written: a folder stands where its files go.
folder=$work/failed
mkdir -p "$folder/step-000004.partial/model.safetensors/in-the-way"
chattr +i "$folder/step-000004.partial/model.safetensors/in-the-way" 2>/dev/null || {
    say "no immutable folders here: the checkpoint that cannot be written is left out"
    exit 0
}
train 1 2 "$folder" --set train.steps=40 --set checkpoint.every_steps=2
chattr -i "$folder/step-000004.partial/model.safetensors/in-the-way"
expect "error lines" 1 "$(grep -c '^error: ' "$log")"
expect_output '^error: checkpoint of step [0-9]+: '
expect_no_process
say "a checkpoint that cannot be written: one line, code 1: $(sed -n 's/^error: //p' "$log" | cut -c 1-120)"
