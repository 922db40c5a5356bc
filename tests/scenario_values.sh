#!/bin/sh
# scenario_values.sh - no file holds a value that its type turned into infinity, and weights that are not finite are named:
# by train, generate, eval and export, before anything is written.  Weights that grow beyond f16 while a run saves f16 do not
# cost the state: the model files become f32, said in a line, and the run goes on from there.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario values
prepare_sample
train 0 0 "$work/good" --set train.steps=1
good=$work/good/step-000001
# Without 'model.architecture', for runs from a model.
sed '/^model:/,/^data:/{/^data:/!d}' "$tiny" >"$work/from_model.yaml"

# place FILE TENSOR - where the values of a tensor begin.
place() {
    header=$(od -An -tu8 -N8 "$1")
    begin=$(head -c $((header + 8)) "$1" | tail -c +9 | tr '{' '\n' | grep -A1 "\"$2\":\$" | tail -n 1 | sed -n 's/.*"data_offsets":\[\([0-9]*\),.*/\1/p')
    [ -n "$begin" ] || fail "no tensor '$2' in '$1'"
    echo $((header + 8 + begin))
}

# odd_model NAME TENSOR ELEMENT BYTES COUNT - a copy of the good model with COUNT values of a tensor replaced.
odd_model() {
    mkdir "$work/$1" && cp "$good"/*.json "$good"/*.safetensors "$work/$1" || exit 1
    rm -f "$work/$1/manifest.json" "$work/$1/provenance.json"
    at=$(($(place "$work/$1/model.safetensors" "$2") + 4 * $3))
    for i in $(seq 0 $(($5 - 1))); do
        # shellcheck disable=SC2059
        printf "$4" | dd of="$work/$1/model.safetensors" bs=1 seek=$((at + 4 * i)) conv=notrunc status=none
    done
}

# from_model CODE FOLDER MODEL [ARGUMENT...]
from_model() {
    wanted_code=$1 folder=$2 model=$3
    shift 3
    run "$wanted_code" "$atelier" train "$work/from_model.yaml" --set "run.folder=$folder" \
        --set "data.train=$work/fiches.h5" --set "model.path=$model" --set train.steps=2 "$@"
}

down=model.layers.0.mlp.down_proj.weight
odd_model nan $down 20 '\000\000\300\177' 3  # NaN
odd_model large $down 20 '\000\000\211\107' 1 # 70144
odd_model edge $down 0 '\000\322\177\107' 8  # 65490: f16 holds it

# --- not a number: every command says where ---
wanted="tensor '$down' holds 3 values that are not finite, the first .-?nan. at element 20"
from_model 2 "$work/none" "$work/nan"
expect_output "^error: .*$wanted"
[ ! -e "$work/none/step-000001" ] || fail "a checkpoint was written"
run 2 on_ranks 2 "$atelier" train "$work/from_model.yaml" --set "run.folder=$work/none" \
    --set "data.train=$work/fiches.h5" --set "model.path=$work/nan"
expect_output "^error: .*$wanted"
run 2 "$atelier" generate "$work/nan" --prompt Bonjour --max-tokens 2
expect_output "^error: .*$wanted"
run 2 "$atelier" eval "$work/nan" --data "$work/fiches-valid.h5"
expect_output "^error: .*$wanted"
for to in hf gguf; do
    run '[12]' "$atelier" export "$work/nan" --to $to --out "$work/out.$to"
    expect_output "^error: .*$wanted"
    left=$(find "$work" -maxdepth 1 -name "out.*")
    [ -z "$left" ] || fail "export left something behind: $left"
done
say "weights that are not finite: tensor, count and place named by train on 1 and 2 ranks, generate, eval, export"

# --- finite weights whose activations are not: no number is printed, no text written ---
odd_model overflow model.norm.weight 0 '\346\261\141\177' 16 # 3e38
run 1 "$atelier" eval "$work/overflow" --data "$work/fiches-valid.h5"
expect_output "^error: the loss of '$work/overflow' is not finite at token [0-9]* of document [0-9]* of '$work/fiches-valid.h5' \('data[^()]* line [0-9]*\), source '[^']*': .*overflowed f32.*lower learning rate"
run 1 "$atelier" eval "$work/overflow" --data "$work/fiches-valid.h5" --json
if grep -q '"loss"' "$log"; then
    fail "eval printed a loss that is not a number"
fi
run 1 "$atelier" generate "$work/overflow" --prompt Bonjour --max-tokens 4 --temperature 0
expect_output "^error: [0-9]* of the [0-9]* logits of '$work/overflow' after token [0-9]* of the text .*not finite.*overflowed f32"
run 1 "$atelier" generate "$work/overflow" --prompt Bonjour --max-tokens 4
run 1 "$atelier" export "$work/overflow" --to hf --out "$work/out.overflow"
expect_output "^error: the logits of '$work/overflow' are not finite"
[ ! -e "$work/out.overflow" ] || fail "export left something behind"
run 0 "$atelier" eval "$good" --data "$work/fiches-valid.h5" # the control
run 0 "$atelier" generate "$good" --prompt Bonjour --max-tokens 4 --temperature 0
say "activations that overflow: eval, generate and export end with 1 and say where"

# --- too large for the type of the saved model ---
wanted="tensor '$down' holds 1 value too large for model.save_dtype f16, the first .70144. at element 20"
from_model 2 "$work/none" "$work/large" --set model.save_dtype=f16
expect_output "^error: .*$wanted"
[ ! -e "$work/none/step-000001" ] || fail "a checkpoint was written"
from_model 0 "$work/bf16" "$work/large" --set model.save_dtype=bf16 # the control
run '[12]' "$atelier" export "$work/large" --to hf --type f16 --out "$work/out.hf"
expect_output "^error: .*holds 1 value too large for f16"
run '[12]' "$atelier" export "$work/large" --to gguf --type f16 --out "$work/out.gguf"
expect_output "^error: .*holds 1 value too large for f16"
say "a base model beyond f16: refused at the start of a run that saves f16, by export too; bf16 takes it"

# --- too large for the type that the run computes with ---
wanted="tensor '$down' holds 1 value too large for train.compute f16, the first .70144. at element 20, the largest 70144: .*such as bf16"
for ranks in 0 2; do
    run 2 on_ranks $ranks "$atelier" train "$work/from_model.yaml" --set "run.folder=$work/none" \
        --set "data.train=$work/fiches.h5" --set "model.path=$work/large" --set train.compute=f16
    expect_output "^error: .*$wanted"
    [ ! -e "$work/none/step-000001" ] || fail "a checkpoint was written"
done
from_model 0 "$work/f16" "$work/edge" --set train.compute=f16 --set train.steps=1 # control: what f16 holds
from_model 0 "$work/later" "$work/large" --set train.steps=1
from_model 2 "$work/later" "$work/large" --set train.compute=f16 # a run that goes on in f16: its masters are larger
expect_output "^error: .*tensor '$down' holds 1 value too large for train.compute f16"
from_model 0 "$work/later" "$work/large" --set train.compute=bf16 # the remedy
say "weights beyond f16: refused before a step that would compute with them in f16, at a start and on a resume"

# --- weights that grow beyond it on the way ---
dtype_of() {
    sed -n 's/.*"torch_dtype": "\([a-z0-9]*\)".*/\1/p' "$1/config.json"
}
for ranks in 0 2; do
    folder=$work/grows-$ranks
    run 0 on_ranks $ranks "$atelier" train "$work/from_model.yaml" --set "run.folder=$folder" \
        --set "data.train=$work/fiches.h5" --set "model.path=$work/edge" --set model.save_dtype=f16 \
        --set train.steps=2 --set checkpoint.every_steps=1 --set optimizer.learning_rate=100 \
        --set optimizer.weight_decay=0 --set schedule.kind=linear --set schedule.warmup_steps=1
    expect_output "^warning: step [12]: tensor '$down' holds [1-8] values? too large for f16.*the model files of this run are f32 from here on"
    expect "number type of the last model" float32 "$(dtype_of "$folder/step-000002")"
    expect "warnings" 1 "$(grep -c '^warning: step' "$log")"
    run 0 "$atelier" inspect "$folder/step-000002" --verify
    "$atelier" export "$folder/step-000002" --to hf --out "$folder/hf" >"$log" 2>&1 || fail "the saved model cannot be read"
done
from_model 0 "$work/fits" "$work/edge" --set model.save_dtype=f16 --set optimizer.learning_rate=1e-6 # the control
expect "number type of a model that fits" float16 "$(dtype_of "$work/fits/step-000002")"
if grep -q '^warning: step' "$log"; then
    fail "a model that fits was warned about"
fi
say "weights that grow beyond f16: saved as f32, said once, on 1 and 2 ranks"
