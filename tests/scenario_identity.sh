#!/bin/sh
# scenario_identity.sh - a model is its weights and what its configuration makes of them.  With another rope_theta in its config.json,
# the base of an adapter is refused by the key and both values, a teacher's file that was begun is not gone on with, one that is whole
# is not taken for its own, and a reference is computed again.
# Controls: with the file put back, or with another number type or end token in it, all of them are the same model's.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario identity
prepare_sample
train 0 0 "$work/start" --set train.steps=2
mkdir "$work/model"
for file in config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json; do
    [ ! -e "$work/start/step-000002/$file" ] || cp "$work/start/step-000002/$file" "$work/model/"
done
model=$work/model
cp "$model/config.json" "$work/config.json"
grep -q '"rope_theta"' "$model/config.json" || fail "config.json has no rope_theta"

# turn, put_back - the configuration of another model, and its own.  touch_up - what computes the same.
turn() { sed -i 's/"rope_theta": [0-9.e+]*/"rope_theta": 12345.0/g' "$model/config.json"; }
put_back() { cp "$work/config.json" "$model/config.json"; }
touch_up() { sed -i 's/"float32"/"bfloat16"/; s/"eos_token_id": [0-9]*/"eos_token_id": 3/' "$model/config.json"; }

# --- an adapter ---

adapt "$model"
train 0 0 "$work/lora" --set train.steps=2
lora=$work/lora/step-000002
# evaluate CODE - the adapter on its base, whose weights have kept their time.
evaluate() { run "$1" "$atelier" eval "$lora" --data "$work/fiches-valid.h5" --sequences 2; }
evaluate 0
turn
evaluate '[12]'
expect_output "another configuration: rope_[a-z]* is .*12345.0.*, and was .*10000.0"
run '[12]' "$atelier" export "$lora" --to hf --out "$work/merged"
expect_output "another configuration: rope_[a-z]* is"
run '[12]' "$atelier" train "$tiny" --set "run.folder=$work/onward" --set "adapter.path=$lora" --set adapter.rank=null --set adapter.alpha=null \
    --set "data.train=$work/fiches.h5" --set data.valid=null
expect_output "another configuration: rope_[a-z]* is"
put_back
touch_up
evaluate 0
put_back

# --- a teacher ---

# teach CODE MODEL FILE
teach() { run "$1" "$atelier" eval "$2" --data "$work/fiches.h5" --output "$3" --sequence-tokens 64 --top-k 8; }
teach 0 "$model" "$work/whole.teacher"
sed '1s/"state":"whole"/"state":"begun"/' "$work/whole.teacher" >"$work/again.teacher.partial"
turn
teach 2 "$model" "$work/again.teacher"
expect_output "again.teacher.partial' was begun by another model"
teach 2 "$model" "$work/whole.teacher"
expect_output "whole.teacher' is there already, made by the same weights with another config.json"
put_back
touch_up
teach 0 "$model" "$work/again.teacher"
put_back
cmp "$work/whole.teacher" "$work/again.teacher" || fail "a file that was gone on with is another one"

# --- a reference ---

printf '{"prompt": "La carte", "chosen": " grise", "rejected": " bleue"}\n%.0s' 1 2 3 4 5 6 7 8 >"$work/pairs.jsonl"
run 0 "$atelier" prepare "$tiny" --set "prepare.sources=[{path: $work/pairs.jsonl, record: pair}]" --set "prepare.output=$work/pairs.h5" \
    --set prepare.valid_every=0
# prefer FOLDER
prefer() {
    train 0 0 "$1" --set "data.train=$work/pairs.h5" --set data.valid=null --set objective.kind=dpo --set data.packing=whole \
        --set train.steps=1
}
prefer "$work/first"
expect_output "^reference: .*was computed in"
prefer "$work/second"
expect_output "^reference: .*was read from" # the control
turn
prefer "$work/third"
expect_output "^reference: .*was computed in"
put_back
say "another rope_theta is another model to adapters, teachers and references, and by its own name again the same"
