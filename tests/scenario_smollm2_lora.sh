#!/bin/sh
# scenario_smollm2_lora.sh - an adapter on open weights: SmolLM2-135M-Instruct from its GGUF (Q4_1), on French conversations on labour
# law.  The validation loss falls, the adapter has a few megabytes, and the memory is at most 45 % of what training all weights
# takes; the adapter is served on its base and merged.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario smollm2_lora
corpus=../shared/corpora/contributions_chat.jsonl.zst
[ -e "$corpus" ] || skip "no '$corpus'"
command -v zstd >/dev/null 2>&1 || skip "no zstd"
base=$(sh tests/fetch_model.sh smollm2 2>"$work/fetch.log") || skip "$(tail -n 1 "$work/fetch.log")"
[ "$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)" -ge 5 ] || skip "less than 5 GiB of memory free"

zstd -dc "$corpus" 2>/dev/null | head -n 150 >"$work/chat.jsonl"
cat >"$work/run.yaml" <<END
prepare:
  tokenizer: $base
  output: $work/chat.h5
  valid_every: 10
  sources: [{path: $work/chat.jsonl, name: contributions, licence: Apache-2.0, chat: true}]
run: {log_every: 5, threads: 1}
model: {path: $base}
data: {train: $work/chat.h5, valid: $work/chat-valid.h5, sequence_tokens: 128}
train: {steps: 12, batch_sequences: 2, micro_sequences: 1}
optimizer: {learning_rate: 1e-3, weight_decay: 0}
schedule: {kind: constant}
valid: {sequences: 6}
END
run 0 "$atelier" prepare "$work/run.yaml"

# peak FOLDER - megabytes.
peak() { sed -n 's/^peak memory *\([0-9]*\) MB.*/\1/p' "$1/summary.txt"; }

run 0 "$atelier" train "$work/run.yaml" --set "run.folder=$work/lora" --set adapter.method=lora --set adapter.rank=8 \
    --set adapter.alpha=16 --set model.save_dtype=bf16
before=$(sed -n 's/^{"event": "validation", "step": 0, "loss": \([0-9.]*\),.*/\1/p' "$work/lora/metrics.jsonl")
after=$(sed -n 's/^{"event": "validation", "step": 12, "loss": \([0-9.]*\),.*/\1/p' "$work/lora/metrics.jsonl")
is_at_most "$after" "$(awk -v a="$before" 'BEGIN { print a - 0.1 }')" || fail "validation loss $before -> $after"
step=$work/lora/step-000012
bytes=$(stat -c %s "$step/adapter_model.safetensors")
[ "$bytes" -le 6000000 ] || fail "the adapter has $bytes bytes"
run 0 "$atelier" train "$work/run.yaml" --set "run.folder=$work/full" --set train.steps=1 --set train.batch_sequences=1 --set data.sequence_tokens=256 \
    --set optimizer.learning_rate=1e-5 --set data.valid=null
run 0 "$atelier" train "$work/run.yaml" --set "run.folder=$work/small" --set train.steps=1 --set train.batch_sequences=1 --set data.sequence_tokens=256 \
    --set data.valid=null --set adapter.method=lora
share=$(awk -v a="$(peak "$work/small")" -v b="$(peak "$work/full")" 'BEGIN { printf "%.2f", a / b }')
is_at_most "$share" 0.45 || fail "the memory is $share of full fine-tuning's"

run 0 "$atelier" export "$step" --to gguf-lora --out "$work/lora.gguf"
expect_output "^210 of 210 modules hit \(llama\)"
run 0 "$atelier" eval "$step" --data "$work/chat-valid.h5" --sequence-tokens 128 --sequences 4 --json
with=$(json_number loss "$log")
run 0 "$atelier" export "$step" --to gguf --type f32 --out "$work/merged.gguf"
run 0 "$atelier" eval "$work/merged.gguf" --data "$work/chat-valid.h5" --sequence-tokens 128 --sequences 4 --json
awk -v a="$with" -v b="$(json_number loss "$log")" 'BEGIN { exit !((a - b) ^ 2 < 1e-8 * b * b) }' ||
    fail "base and adapter have a loss of $with, the merged model $(json_number loss "$log")"
run 0 "$atelier" eval "$base" --data "$work/chat-valid.h5" --sequence-tokens 128 --sequences 4 --json # the control
is_at_most "$with" "$(awk -v a="$(json_number loss "$log")" 'BEGIN { print a - 0.1 }')" || fail "the base alone is as good"
say "an adapter of $((bytes / 1000)) kB on SmolLM2: validation loss $before -> $after, $share of the memory of full fine-tuning"
