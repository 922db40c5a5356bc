#!/bin/sh
# scenario_lora.sh - an adapter trained on a frozen base: on any number of ranks, stopped and gone on with others, killed while
# it saves; its checkpoint is a PEFT folder, evaluated and generated from on its base, and refused on another.  Controls: the
# base alone gives another loss, and its files do not change.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario lora
prepare_sample
train 0 0 "$work/base" --set train.steps=4
base=$work/base/step-000004
before=$(sha256sum "$base/model.safetensors")
adapt "$base"

# --- the same training on any number of ranks, at any stage ---

train 0 0 "$work/one"
for layout in 1:0 2:0 2:1 2:2 2:3 4:3; do
    train 0 "${layout%:*}" "$work/at-$layout" --set "parallel.stage=${layout#*:}"
    worst=$(difference "$work/one" "$work/at-$layout")
    is_at_most "$worst" 1e-5 || fail "$layout (ranks, stage) has other losses than one rank: $worst"
done
train 0 0 "$work/other" --set adapter.alpha=16 # control
is_at_most "$(difference "$work/one" "$work/other")" 1e-5 && fail "another alpha gives the same losses"
step=$work/one/step-000010
for file in adapter_config.json adapter_model.safetensors state/master.safetensors state/adam_m.safetensors provenance.json; do
    [ -s "$step/$file" ] || fail "'$step/$file' is missing"
done
[ ! -e "$step/config.json" ] || fail "a PEFT folder has no config.json"
expect "what the training did to its base" "$before" "$(sha256sum "$base/model.safetensors")"
size=$(stat -c %s "$step/adapter_model.safetensors")
[ "$size" -lt 60000 ] || fail "the adapter has $size bytes"


# --- what is planned is what is taken ---

planned=$(sed -n 's/^memory per rank, planned: \([0-9.]*\) .*/\1/p' "$work/at-2:3/log.txt")
run 0 "$atelier" plan "$tiny" --ranks 2 --set "run.folder=$work/plan" --set "data.train=$work/fiches.h5" --json --set parallel.stage=3
expect "memory of a rank, in GiB" "$planned" "$(json_number device "$log" | awk '{ printf "%.3f", $1 / 1024 / 1024 / 1024 }')"
whole=$(json_number optimizer "$log")
grep -q '"hints": \[\]' "$log" || fail "there is nothing to be said of this plan"
run 0 "$atelier" plan "$tiny" --ranks 2 --set "run.folder=$work/plan" --set "data.train=$work/fiches.h5" \
    --set adapter.rank=24 --set optimizer.learning_rate=1e-5 --set train.batch_sequences=32
expect_output "^hint +rank 24: vLLM serves up to 16"
expect_output "^hint +optimizer.learning_rate 1e-05: .*ten times"
expect_output "^hint +train.batch_sequences 32: .*below 32"
run 0 "$atelier" plan "$tiny" --ranks 2 --set "run.folder=$work/plan" --set "data.train=$work/fiches.h5" --json \
    --set adapter.method=none --set adapter.rank=null --set adapter.alpha=null
[ "$(json_number optimizer "$log")" -gt $((20 * whole)) ] || fail "an adapter saves no memory of the optimizer"

# --- stopped, gone on with on other ranks; killed ---

train 75 2 "$work/part" --set train.stop_after_s=0.001
train 0 1 "$work/part" --set parallel.stage=2 --set checkpoint.every_steps=3
is_at_most "$(difference "$work/one" "$work/part")" 1e-5 || fail "a run that went on has other losses"
expect_complete "$work/part" 10
for delay in 0.2 0.35 0.5 0.65; do
    train_start 2 "$work/killed" --set checkpoint.every_steps=1 --set train.steps=60
    sleep "$delay"
    for pid in $(own_processes); do kill -9 "$pid" 2>/dev/null; done
    wait "$started" 2>/dev/null
    expect_no_process
done
train 0 3 "$work/killed" --set train.steps=60
expect_complete "$work/killed" 60
train 0 0 "$work/straight" --set train.steps=60
is_at_most "$(difference "$work/straight" "$work/killed")" 1e-5 || fail "a run that was killed has other losses"

# --- on its base ---

loss_of() { awk '$1 == "all" { print $2 }' "$log"; }
run 0 "$atelier" eval "$work/one" --data "$work/fiches-valid.h5" --sequence-tokens 64 --sequences 8
trained=$(loss_of)
run 0 "$atelier" eval "$base" --data "$work/fiches-valid.h5" --sequence-tokens 64 --sequences 8
[ "$trained" != "$(loss_of)" ] || fail "the adapter does nothing"
told=$(sed -n 's/^{"event": "validation", "step": 10, "loss": \([0-9.]*\),.*/\1/p' "$work/one/metrics.jsonl")
awk -v a="$trained" -v b="$told" 'BEGIN { exit !((a - b) ^ 2 < 1e-10 * b * b) }' ||
    fail "eval says $trained, the training said $told"
run 0 "$atelier" generate "$work/one" --prompt Bonjour --max-tokens 3
mv "$base" "$work/base/elsewhere"
run '[12]' "$atelier" eval "$work/one" --data "$work/fiches-valid.h5"
expect_output "the base of adapter '.*': cannot open model '$base'"
run 0 "$atelier" eval "$work/one" --base "$work/base/elsewhere" --data "$work/fiches-valid.h5" --sequence-tokens 64 --sequences 8
expect "its loss, with the base at another place" "$trained" "$(loss_of)"
train 0 2 "$work/one" --set "model.path=$work/base/elsewhere" --set train.steps=11
expect_output "model.path: '$base' is now '$work/base/elsewhere', the same model"
mv "$work/base/elsewhere" "$base"
cp -r "$base" "$work/other-base"
rm "$work/other-base/manifest.json"
printf '\001' | dd of="$work/other-base/model.safetensors" bs=1 seek=100000 conv=notrunc 2>/dev/null
run '[12]' "$atelier" eval "$work/one" --base "$work/other-base" --data "$work/fiches-valid.h5"
expect_output "is not the file that adapter '.*' was trained on"
train '[12]' 2 "$work/one" --set "model.path=$work/other-base" --set train.steps=12
expect_output "model.path"

# --- written for other programs ---

run 0 "$atelier" export "$step" --to peft --out "$work/peft"
expect_output "^14 of 14 modules hit \(LlamaForCausalLM\)"
run 0 "$atelier" eval "$work/peft" --data "$work/fiches-valid.h5" --sequence-tokens 64 --sequences 8
expect "the loss of the exported adapter" "$trained" "$(loss_of)"
run 0 "$atelier" export "$step" --to hf --out "$work/merged"
run 0 "$atelier" eval "$work/merged" --data "$work/fiches-valid.h5" --sequence-tokens 64 --sequences 8
is_at_most "$(awk -v a="$(loss_of)" -v b="$trained" 'BEGIN { print (a > b ? a - b : b - a) / b }')" 1e-6 ||
    fail "the merged model has another loss: $(loss_of)"
train 0 0 "$work/faint" --set optimizer.learning_rate=1e-5 --set train.steps=1
run 0 "$atelier" export "$work/faint/step-000001" --to hf --type bf16 --output "$work/faint-bf16"
expect_output "warning: the logits of '.*faint-bf16' differ from the source's by .* the rounding may have taken what it learnt; .*--to peft"
for folder in "$work/faint/step-000001" "$step"; do # controls: nothing is rounded
    run 0 "$atelier" export "$folder" --to hf --type f32 --output "$work/unrounded"
    ! grep -q "rounding" "$log" || fail "a rounding is told of $folder in f32"
    rm -r "$work/unrounded"
done
run 0 "$atelier" export "$work/faint/step-000001" --to peft --type bf16 --output "$work/faint-peft"
! grep -q "rounding" "$log" || fail "a rounding is told of an adapter that was not merged"
says() { grep -Eq -- "$2" "$1" || fail "'$1' should say '$2'"; }
says "$step/README.md" '^library_name: peft'
says "$step/README.md" '^- Rank of the pairs: 4'
says "$step/README.md" 'max-lora-rank'
says "$work/merged/README.md" '^library_name: transformers'
says "$work/merged/README.md" 'merged into them'
run 0 "$atelier" export "$step" --to gguf --out "$work/merged.gguf"
run 0 "$atelier" export "$step" --to gguf-lora --for "$work/merged.gguf" --out "$work/lora.gguf"
expect_output "^14 of 14 modules hit \(llama\)"
run 1 "$atelier" export "$step" --to peft --for tests/golden/models/qwen3 --out "$work/never"
expect_output "0 of 14 modules of the adapter hit .*Qwen3ForCausalLM: 'model.layers.0.self_attn.q_proj' is not a module"
run 1 "$atelier" export "$work/merged" --to peft --out "$work/never"
expect_output "is not an adapter"
[ ! -e "$work/never" ] || fail "something was written"

# --- what cannot be ---

refused() { # SENTENCE SETTING...
    sentence=$1
    shift
    train '[12]' 2 "$work/refused" "$@"
    expect_output "$sentence"
    [ ! -e "$work/refused/metrics.jsonl" ] || fail "something was written"
}
refused "rank of adapter target 'q' is 100, more than the smaller side of its matrix \(64\)" --set adapter.rank=100
refused "'router' is not a matrix of a layer of this model \(llama\); there are q, k, v, o, gate, up, down" \
    --set 'adapter.targets=[q, router]'
refused "adapter.layers: '1-2' is not a layer of this model.*layers 0 to 1" --set 'adapter.layers=[1-2]'
refused "adapter.method.*loha" --set adapter.method=loha
refused "muon is for whole matrices" --set optimizer.kind=muon --set optimizer.momentum=0.9
refused "'adapter.rank' .*adapter.method" --set adapter.method=none
refused "model.add_tokens would add rows that never learn" --set 'model.add_tokens=[<affaire>]'
refused "model.tied_head would make another base" --set model.tied_head=false
refused "'q' is not a matrix of a layer of this model \(phi3\); there are o, down, qkv, gate_up, and all-linear" \
    --set model.path=tests/golden/models/phi3 --set data.sequence_tokens=16 --set 'adapter.targets=[q]'
for key in rank=5 alpha=7; do
    refused "adapter.${key%=*} would have no effect: adapter.path .* is an adapter with its own" \
        --set "adapter.path=$work/one/step-000010" --set adapter.rank=null --set adapter.alpha=null --set "adapter.$key"
done
refused "is not an adapter" --set "adapter.path=$base" --set adapter.rank=null --set adapter.alpha=null

# --- begun with an adapter that is there ---

train 0 0 "$work/again" --set "adapter.path=$work/one/step-000010" --set train.steps=3
first=$(losses "$work/again" | head -n 1)
train 0 0 "$work/anew" --set train.steps=3
[ "$first" != "$(losses "$work/anew" | head -n 1)" ] || fail "the training did not begin with the adapter"
train 0 2 "$work/targets" --set 'adapter.targets=[q, v, {name: down, rank: 2, alpha: 3}]' --set 'adapter.layers=[1]' \
    --set train.steps=2
expect_output "of which 1408 of the adapter"

say "an adapter is trained on its frozen base to the same losses in every layout, stopped, killed, moved and gone on with"
