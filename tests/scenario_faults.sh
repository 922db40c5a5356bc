#!/bin/sh
# scenario_faults.sh - bad input and bad luck: an exit code that says whose fault it is, one clear line, nothing written,
# nothing lost, no rank left.  First a table of refusals, then damaged checkpoints, a loss that is not a number, a full
# disk and a folder that cannot be written.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario faults
prepare_sample
train 0 0 "$work/good" --set train.steps=2 --set checkpoint.every_steps=1
good=$work/good/step-000002

# --- refusals ---

num_refusals=0

# refused NAME CODE PATTERN COMMAND... - ends with this code and one error line of this form; the folder or file
# $work/NAME, which the command would have written, is not there.
refused() {
    name=$1 pattern=$3
    target=$work/$name
    wanted=$2
    shift 3
    run "$wanted" "$@"
    expect "error lines of '$name'" 1 "$(grep -c '^error: ' "$log")"
    expect_output "^error: .*$pattern"
    [ ! -e "$target" ] || fail "'$name' was refused, and yet '$target' was written: $(ls "$target")"
    num_refusals=$((num_refusals + 1))
}

# refused_train NAME PATTERN [ARGUMENT...] - the same for a run alone in $work/NAME: always a matter of configuration.
refused_train() {
    name=$1 pattern=$2
    shift 2
    refused "$name" 2 "$pattern" "$atelier" train "$tiny" --set "run.folder=$work/$name" \
        --set "data.train=$work/fiches.h5" "$@"
}

# The inputs of the table.
echo 'no token file' >"$work/text.h5"
head -c 40000 "$work/fiches.h5" >"$work/cut.h5"
printf 'train:\n  steps: 3\n  stepps: 4\n' >"$work/misspelt.yaml"
printf 'train:\n  steps: [3\n' >"$work/broken.yaml"
cp -r data/sample/tokenizer "$work/other-tokenizer"
sed -i 's/<|pad|>/<|pax|>/g' "$work/other-tokenizer"/*.json
run 0 "$atelier" prepare "$tiny" --set "prepare.tokenizer=$work/other-tokenizer" --set "prepare.output=$work/other.h5"
cp -r "$good" "$work/gpt2"
sed -i 's/"model_type": "llama"/"model_type": "gpt2"/; s/LlamaForCausalLM/GPT2LMHeadModel/' "$work/gpt2/config.json"
cp -r "$good" "$work/cut-model"
truncate -s -100 "$work/cut-model/model.safetensors"
cp -r "$good" "$work/hostile-model" # a header longer than any file
printf '\377\377\377\377\377\377\377\177' | dd of="$work/hostile-model/model.safetensors" conv=notrunc status=none
: >"$work/empty.jsonl"
printf '{"text": "bon"}\n{"texte": "mauvais champ"}\n' >"$work/field.jsonl"
printf '{"text": "bon"}\n{"text": \n' >"$work/broken.jsonl"
# Without 'model.architecture', for runs from a model.
sed '/^model:/,/^data:/{/^data:/!d}' "$tiny" >"$work/from_model.yaml"

# from_model NAME MODEL PATTERN [ARGUMENT...]
from_model() {
    name=$1 model=$2 pattern=$3
    shift 3
    refused "$name" 2 "$pattern" "$atelier" train "$work/from_model.yaml" --set "run.folder=$work/$name" \
        --set "data.train=$work/fiches.h5" --set "model.path=$model" "$@"
}

# prepare_from NAME PATTERN SOURCE - writing NAME.h5 from this source; a fault of the data, not of the run file.
prepare_from() {
    printf 'prepare:\n  tokenizer: data/sample/tokenizer\n  output: %s\n  sources:\n    - path: %s\n      format: jsonl\n' \
        "$work/$1.h5" "$3" >"$work/$1.yaml"
    refused "$1.h5" 1 "$2" "$atelier" prepare "$work/$1.yaml"
}

refused run 2 "unknown command 'trian' .did you mean 'train'" "$atelier" trian
refused run 2 "unknown option '--sett'" "$atelier" train "$tiny" --sett a=b
refused run 2 "nowhere.yaml.*No such file" "$atelier" train "$work/nowhere.yaml"
refused run 2 "misspelt.yaml' line 3 column 3: unknown key 'train.stepps' .did you mean 'train.steps'" \
    "$atelier" train "$work/misspelt.yaml"
refused run 2 "broken.yaml' line" "$atelier" train "$work/broken.yaml"
refused_train key "unknown key 'train.stepss' .did you mean 'train.steps'" --set train.stepss=5
refused_train section "unknown key 'train' .it is a section, of keys such as train.steps" --set train=3
refused_train range "optimizer.learning_rate' is '-1', expected a number from" --set optimizer.learning_rate=-1
refused_train kind "train.steps' is 'viele', expected" --set train.steps=viele
refused_train heads "does not divide the 3 heads" --set model.architecture.heads=3
refused_train both "model.path and model.architecture are both given" --set "model.path=$good"
cp -r "$good" "$work/same"
run 2 "$atelier" train "$work/from_model.yaml" --set "run.folder=$work/same" --set "model.path=$work/same/." \
    --set "data.train=$work/fiches.h5"
expect_output "run.folder is the folder of model.path"
cp -r "$good" "$work/other-model"
rm -rf "$work/other-model/state" "$work/other-model/manifest.json"
ls "$work/other-model" >"$work/other-model.list"
for folder in "$work/other-model" "$good"; do # a model's folder, and a checkpoint
    run 2 "$atelier" train "$work/from_model.yaml" --set "run.folder=$folder" --set "data.train=$work/fiches.h5" \
        --set "model.path=$work/gpt2"
    expect_output "run.folder is the folder of a model or a checkpoint .*choose another run.folder"
done
[ "$(ls "$work/other-model")" = "$(cat "$work/other-model.list")" ] || fail "something was written into a model's folder"
if [ -e "$work/same/lock" ] || [ -e "$work/same/log.txt" ]; then fail "a refused run wrote into the model"; fi
refused_train micro "micro_sequences' is 9, more than train.batch_sequences" --set train.micro_sequences=9
refused_train positions "sequence_tokens' is 512, more than model.architecture.max_positions .256" --set data.sequence_tokens=512
refused_train no-data "none.h5': No such file" --set "data.train=$work/none.h5"
refused_train text-data "text.h5' is not a token file .it does not begin as one of HDF5.: 'atelier prepare' makes one" --set "data.train=$work/text.h5"
refused_train cut-data "token file '.*cut.h5' is cut: it has [0-9]+ of [0-9]+ bytes" --set "data.train=$work/cut.h5"
refused_train other-data "other tokenizer" --set "data.train=$work/other.h5"
refused_train no-tokenizer "none.json': No such file" --set "model.tokenizer=$work/none.json"
refused_train under-file "text.h5.*(Not a directory|a file is in its place)" --set "run.folder=$work/text.h5/run"
from_model no-model "$work/none" "none': No such file"
from_model family "$work/gpt2" "gpt2"
from_model cut "$work/cut-model" "model.safetensors': tensor '.*' ends at byte|model.safetensors'.*ends at byte"
from_model hostile "$work/hostile-model" "hostile-model/model.safetensors'"
from_model from-positions "$good" "sequence_tokens.* 512.*256" --set data.sequence_tokens=512
from_model from-other "$good" "another tokenizer" --set "data.train=$work/other.h5"
# plan_from CODE CONFIG [ARGUMENT...] - what a run would be refused for, a plan is.
plan_from() {
    wanted=$1 config=$2
    shift 2
    run "$wanted" "$atelier" plan "$config" --ranks 1 --set "run.folder=$work/planned" "$@"
}
plan_from 2 "$work/from_model.yaml" --set "model.path=$good" --set "data.train=$work/other.h5"
expect_output "^error: data.train '.*other.h5': made with another tokenizer than the model's: prepare the data with"
plan_from 2 "$tiny" --set "data.train=$work/fiches.h5" --set "data.valid=$work/other.h5"
expect_output "^error: data.valid '.*other.h5': made with another tokenizer"
plan_from 2 "$tiny" --set "data.train=$work/text.h5"
expect_output "text.h5' is not a token file"
for tokenizer in "$work/other-tokenizer" data/sample/tokenizer; do # the second is the control; neither file is there yet
    wanted=0
    [ "$tokenizer" = data/sample/tokenizer ] || wanted=2
    plan_from "$wanted" "$work/from_model.yaml" --set "model.path=$good" --set "prepare.tokenizer=$tokenizer" \
        --set "prepare.output=$work/later.h5" --set "data.train=$work/later.h5" --set "data.valid=$work/later-valid.h5"
    [ "$wanted" = 0 ] || expect_output "data.train '.*later.h5' \(still to be prepared\): made with another tokenizer"
done
prepare_from no-source "nowhere.jsonl': No such file" "$work/nowhere.jsonl"
prepare_from no-text "no document" "$work/empty.jsonl"
prepare_from no-field "field.jsonl' line 2: .*'text'" "$work/field.jsonl"
prepare_from no-json "broken.jsonl' line 2" "$work/broken.jsonl"
refused run 2 "--data FILE.h5 or --tasks FILE.jsonl is missing" "$atelier" eval "$good"
refused run 2 "another tokenizer" "$atelier" eval "$good" --data "$work/other.h5"
refused run 2 "none': No such file" "$atelier" generate "$work/none" --prompt x
refused run 2 "does not exist|no such|unknown|'onnx'" "$atelier" export "$good" --to onnx --out "$work/run"
refused run '[12]' "none': No such file" "$atelier" export "$work/none" --to hf --out "$work/run"
refused run '[12]' "none': No such file" "$atelier" inspect "$work/none"

# Several ranks: one message, and all of them end.
refused ranks 2 "3 ranks for train.batch_sequences 2" on_ranks 3 "$atelier" train "$tiny" \
    --set "run.folder=$work/ranks" --set "data.train=$work/fiches.h5" --set train.batch_sequences=2
expect_no_process
refused ranks 2 "none.h5': No such file" on_ranks 2 "$atelier" train "$tiny" \
    --set "run.folder=$work/ranks" --set "data.train=$work/none.h5"
expect_no_process
say "$num_refusals refusals, each with one line and nothing written"

# --- damaged checkpoints ---

# damage FOLDER FILE - flip a bit in the middle of one of the files of its checkpoint.
damage() {
    rm -rf "$1"
    cp -r "$work/good" "$1"
    middle=$(($(wc -c <"$1/step-000002/$2") / 2))
    byte=$(od -An -tu1 -j "$middle" -N 1 "$1/step-000002/$2")
    # shellcheck disable=SC2059
    printf "\\$(printf '%03o' $((byte ^ 1)))" |
        dd of="$1/step-000002/$2" bs=1 seek="$middle" conv=notrunc status=none
}

for file in model.safetensors state/master.safetensors state/adam_m.safetensors state/training.json config.json; do
    damage "$work/damaged" $file
    lines=$(losses "$work/damaged")
    train 2 0 "$work/damaged" --set train.steps=4
    expect_output "^error: .*step-000002/$file' was damaged.* bytes [0-9]+ to [0-9]+"
    expect "metrics after a refused checkpoint" "$lines" "$(losses "$work/damaged")"
    run '[12]' "$atelier" inspect "$work/damaged/step-000002" --verify
    expect_output "$file'.* bytes [0-9]+ to [0-9]+"
done
rm -rf "$work/damaged" && cp -r "$work/good" "$work/damaged" # what a resume compares with the run file
sed -i 's/"run.seed": "7"/"run.seed": "6"/' "$work/damaged/step-000002/state/training.json"
train 2 0 "$work/damaged" --set train.steps=4
expect_output "^error: .*step-000002/state/training.json' was damaged"
run 0 "$atelier" inspect "$work/good/step-000002" --verify # the control
say "one flipped bit in any file of a checkpoint: refused, file and range named"

# Too short: refused with the file and the choices; the way out that is named works; where there is none, nothing is lost.
cp -r "$work/good" "$work/short"
truncate -s -100 "$work/short/step-000002/state/adam_v.safetensors"
train 2 0 "$work/short" --set train.steps=2
expect_output "^error: .*short/latest' names step-000002, .*step-000002/state/adam_v.safetensors' has [0-9]+ bytes"
expect_output "complete are step-000001 .the run's own line.: .*echo step-000001 > $work/short/latest"
echo step-000001 >"$work/short/latest"
train 0 0 "$work/short" --set train.steps=2
expect_output "resumed from '.*step-000001' after step 1"
cp -r "$work/good" "$work/shorter"
for step in 1 2; do
    truncate -s -100 "$work/shorter/step-00000$step/model.safetensors"
done
lines=$(losses "$work/shorter")
train 2 0 "$work/shorter" --set train.steps=2
expect_output "^error: .*model.safetensors' has [0-9]+ bytes"
expect "metrics after a refused checkpoint" "$lines" "$(losses "$work/shorter")"
say "a truncated checkpoint: refused, the one before it is named, and where there is none the run does not start anew"

# --- weights, and later a gradient, that are not numbers ---

# poison FOLDER FIRST LAST - rows of the input embedding of a model become NaN.
poison() {
    file=$1/model.safetensors
    header_bytes=$(od -An -tu8 -N 8 "$file" | tr -d ' ')
    header=$(dd if="$file" bs=1 skip=8 count="$header_bytes" status=none)
    begin=$(say "$header" | sed 's/.*"model.embed_tokens.weight":{[^}]*"data_offsets":\[\([0-9]*\),.*/\1/')
    at=$((8 + header_bytes + begin + $2 * width * 4)) end=$((8 + header_bytes + begin + $3 * width * 4))
    awk -v n=$(((end - at) / 4)) 'BEGIN { for (i = 0; i < n; i++) printf "\377\377\377\177" }' |
        dd of="$file" bs=1 seek="$at" conv=notrunc status=none
}

width=64 # of the tiny model
train 0 0 "$work/untied" --set train.steps=1 --set model.architecture.tied_head=false
cp -r "$work/untied/step-000001" "$work/poisoned"
rm "$work/poisoned/manifest.json" # whose checksums would be the first to notice
poison "$work/poisoned" 3000 3010
run 2 on_ranks 2 "$atelier" train "$work/from_model.yaml" --set "run.folder=$work/poisoned-run" \
    --set "data.train=$work/fiches.h5" --set "model.path=$work/poisoned"
expect_no_process
expect_output "^error: .*model.embed_tokens.weight' holds 640 values that are not finite, the first \(nan\) at element 192000"
[ ! -e "$work/poisoned-run/latest" ] || fail "a run from weights that are not numbers left a checkpoint"
say "a base model with values that are not numbers: refused, tensor, count and place named"

train 1 2 "$work/nan" --set train.steps=200 --set checkpoint.every_steps=1 --set checkpoint.keep=2 \
    --set optimizer.learning_rate=100
expect_no_process
expect_output "^error: step [0-9]+: the (loss|gradient norm) is not finite; no update was made; .*fiches.h5 document [0-9]+"
sed -n 's/.*look at the data: //p' "$log" | grep -o 'document [0-9]*' >"$work/documents"
expect "documents named twice" "" "$(sort "$work/documents" | uniq -d)"
bad_step=$(sed -n 's/^error: step \([0-9]*\):.*/\1/p' "$log")
[ "$bad_step" -gt 1 ] || fail "a rate of 100 ended the run in its first step"
expect_complete "$work/nan" $((bad_step - 1))
expect "last step told" $((bad_step - 1)) "$(last_step "$work/nan")"
expect "unfinished checkpoints" "" "$(ls -d "$work/nan"/*.partial 2>/dev/null)"
say "a loss that is not a number in step $bad_step: code 1, step and documents named, the checkpoint of step $((bad_step - 1)) is the last"

# --- a full disk, a folder that cannot be written ---

if [ "$(id -u)" -ne 0 ]; then
    say "not root: without a small file system the full disk is left out"
    mkdir "$work/locked" && chmod a-w "$work/locked"
    refused locked/run 2 "locked/run.*Permission denied" "$atelier" train "$tiny" --set "run.folder=$work/locked/run" \
        --set "data.train=$work/fiches.h5"
    exit 0
fi
mkdir "$work/small"
if ! mount -t tmpfs -o size=15m atelier-test "$work/small" 2>/dev/null; then
    say "no mount in this container: the full disk and the read-only folder are left out"
    exit 0
fi
mounted=$work/small # end_scenario unmounts it
train 1 2 "$work/small/run" --set train.steps=20 --set checkpoint.every_steps=1
expect_no_process
expect_output "^error: checkpoint of step 3: .*no space left for [0-9]+ bytes .*free some space"
expect_complete "$work/small/run" 2
expect "unfinished checkpoints" "" "$(ls -d "$work/small/run"/*.partial 2>/dev/null)"
mount -o remount,size=30m "$work/small"
train 0 2 "$work/small/run" --set train.steps=4 --set checkpoint.every_steps=1
expect_output "after step 2\$"
say "a full disk in a checkpoint: code 1, the one before it is complete, and with room the run goes on"
mount -o remount,ro "$work/small"
run '[12]' "$atelier" train "$tiny" --set "run.folder=$work/small/other" --set "data.train=$work/fiches.h5"
expect_output "^error: .*small/other.*Read-only file system"
say "a read-only folder: refused"
