#!/bin/sh
# scenario_adapter.sh - a PEFT adapter is not a model: a folder that holds nothing else is refused where a model is wanted, with
# its base's name, and where an adapter would do without its base; beside a model it is said, for it is not applied.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario adapter
prepare_sample
train 0 0 "$work/good" --set train.steps=1
good=$work/good/step-000001
sed '/^model:/,/^data:/{/^data:/!d}' "$tiny" >"$work/from_model.yaml"
mkdir "$work/alone" "$work/beside"
printf '{"peft_type": "LORA", "base_model_name_or_path": "org/base-7b", "r": 8, "lora_alpha": 16}\n' >"$work/alone/adapter_config.json"
cp "$good/model.safetensors" "$work/alone/adapter_model.safetensors"
cp "$good/tokenizer.json" "$work/alone/"
cp -r "$work/alone" "$work/with-config" && cp "$good/config.json" "$work/with-config/"
cp "$good"/*.json "$good"/*.safetensors "$work/beside/" && rm -f "$work/beside/manifest.json" "$work/beside/provenance.json"
cp "$work/alone/adapter_config.json" "$work/alone/adapter_model.safetensors" "$work/beside/"

# each CODE MODEL TRAINING OTHERS - by every command that opens a model, with a pattern of what a training says, and the others.
each() {
    each_code=$1 model=$2 training=$3 others=$4
    run "$each_code" on_ranks 2 "$atelier" train "$work/from_model.yaml" --set "run.folder=$work/run-${model##*/}" \
        --set "data.train=$work/fiches.h5" --set "model.path=$model" --set train.steps=1
    expect_output "$training"
    expect "how often train says it" 1 "$(grep -Ec "$training" "$log")"
    run "$each_code" "$atelier" generate "$model" --prompt Bonjour --max-tokens 1
    expect_output "$others"
    run "$each_code" "$atelier" eval "$model" --data "$work/fiches-valid.h5"
    expect_output "$others"
    run "$each_code" "$atelier" export "$model" --to hf --out "$work/out-${model##*/}"
    expect_output "$others"
}
alone="^error: .*is an adapter \(adapter_config.json, of base org/base-7b\), not a model.*adapter.path"
baseless="^error: the base of adapter '.*': cannot open model 'org/base-7b'"
each '[12]' "$work/alone" "$alone" "$baseless"
each '[12]' "$work/with-config" "$alone" "$baseless"
beside="warning: '$work/beside' holds an adapter beside the model .*not applied here"
each 0 "$work/beside" "$beside" "$beside"
run 0 "$atelier" inspect "$work/alone"
expect_output "^base +org/base-7b"
expect_output "^rank +8$"
expect_output "^alpha +16$"
expect_output "^targets +not said$"
run 0 "$atelier" inspect "$work/beside"
expect_output "$beside"
[ ! -e "$work/run-beside/step-000001/adapter_config.json" ] || fail "the adapter was carried into the checkpoint"
run 0 "$atelier" generate "$good" --prompt Bonjour --max-tokens 1 # control
if sed "s|build/tmp/adapter/||g" "$log" | grep -q adapter; then
    fail "something is said of an adapter that is not there"
fi
say "an adapter's folder is refused with its base's name, an adapter beside a model is said, by every command"
