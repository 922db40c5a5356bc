#!/bin/sh
# scenario_tensorboard.sh - run.tensorboard: the event files hold what metrics.jsonl holds, bit by bit, also after a start that
# did steps again; a run without it has none, and the same weights.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario tensorboard
command -v python3 >/dev/null || skip "no python3: the files cannot be read by another program"
prepare_sample
printf '%s\n' '{"query": "Le dossier se dépose à la", "choices": ["mairie", "plage"], "gold": 0}' >"$work/items.jsonl"
run 0 "$atelier" prepare "$tiny" --set "prepare.output=$work/two.h5" --set \
    'prepare.sources=[{path: data/sample/fiches.jsonl, name: one}, {path: data/sample/fiches-validation.jsonl, name: é/two}]'

checked() {
    run "$1" python3 tests/scenario/check_events.py "$2"
}

# train_two RANKS FOLDER [ARGUMENT...] - on two sources, with questions.
train_two() {
    two_ranks=$1 two_folder=$2
    shift 2
    train 0 "$two_ranks" "$two_folder" --set checkpoint.every_steps=4 --set valid.every_steps=2 --set "data.train=$work/two.h5" \
        --set "data.valid=$work/two-valid.h5" --set "eval.tasks=[$work/items.jsonl]" --set eval.every_steps=4 "$@"
}

# --- two starts; the second goes on from step 4, and does steps 5 to 8 again ---
board() {
    train_two 2 "$work/run" --set run.tensorboard=true "$@"
}
board --set train.steps=8
checked 0 "$work/run"
expect_output "^1 files, "
rm -r "$work/run/step-000008"
printf 'step-000004\n' >"$work/run/latest"
board --set train.steps=12
checked 0 "$work/run"
expect_output "^2 files, .* points, [1-9][0-9]* left out by a later start"
say "$(tail -n 1 "$log")"

# --- a validation of two sources: a curve of each; control: a name that is another ---
sources='[{path: data/sample/fiches.jsonl, name: fiches}, {path: data/sample/fiches-validation.jsonl, name: "été/2"}]'
run 0 "$atelier" prepare "$tiny" --set "prepare.output=$work/parts.h5" --set prepare.valid_every=3 --set "prepare.sources=$sources"
train 0 2 "$work/sources" --set run.tensorboard=true --set "data.valid=$work/parts-valid.h5" --set valid.every_steps=2 --set valid.sequences=0 \
    --set train.steps=4
grep -q '"source": "été/2", "loss": [0-9]' "$work/sources/metrics.jsonl" || fail "the validation does not tell its sources"
checked 0 "$work/sources"
sed -i 's|"source": "été/2"|"source": "été/3"|g' "$work/sources/metrics.jsonl"
checked 1 "$work/sources"
expect_output '^valid_loss/été/3: steps'

# --- the controls ---
cp -r "$work/run" "$work/changed"
first=$(find "$work/changed/tensorboard" -name 'events.*' | sort | head -n 1)
second=$(find "$work/changed/tensorboard" -name 'events.*' | sort | tail -n 1)
size=$(wc -c <"$first")
printf '\377' | dd of="$first" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
checked 1 "$work/changed"
expect_output "the CRC of .* is wrong"
cp "$work/run/tensorboard/$(basename "$first")" "$first"
checked 0 "$work/changed"
rm "$second"
checked 1 "$work/changed"
expect_output "train/loss: steps"

# --- without it: no file, the same weights; and a run that goes on with it ---
train_two 2 "$work/plain" --set train.steps=12
! [ -e "$work/plain/tensorboard" ] || fail "files of TensorBoard that were not asked for"
cmp -s "$work/plain/step-000012/model.safetensors" "$work/run/step-000012/model.safetensors" || fail "the weights are others"
train_two 1 "$work/plain" --set run.tensorboard=true --set train.steps=14
[ "$(find "$work/plain/tensorboard" -name 'events.*' | wc -l)" = 1 ] || fail "a run that goes on may ask for it"
: >"$work/file" && mkdir "$work/blocked" && mv "$work/file" "$work/blocked/tensorboard"
train '[!0]*' 0 "$work/blocked" --set run.tensorboard=true --set train.steps=2
expect_output "^error: .*blocked/tensorboard"
