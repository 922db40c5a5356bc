#!/bin/sh
# scenario_qwen3.sh - a new Qwen3 (queries and keys normalised, heads wider than width / heads): the same losses on 1, 2
# and 4 ranks, a resume to the bit, and exports that are read back with the same perplexity under Qwen3's own names.
# That its arithmetic is Qwen3's, tests/test_model.c compares with transformers.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
# shellcheck source=tests/family_checks.sh
. "$(dirname "$0")/family_checks.sh"
scenario qwen3
prepare_sample

# train_family CODE RANKS FOLDER [SETTING]...
train_family() {
    code_wanted=$1 ranks=$2 folder=$3
    shift 3
    train "$code_wanted" "$ranks" "$folder" --set model.architecture.family=qwen3 --set model.architecture.head_dim=24 \
        --set optimizer.learning_rate=3e-3 "$@"
}

train_family 0 0 "$work/alone" --set checkpoint.every_steps=5
layouts_agree "$work/alone" "" 2:0 2:3 4:2
differs_from_llama "$work/alone" --set optimizer.learning_rate=3e-3 --set model.architecture.head_dim=24
resumes_to_the_bit "$work/alone"

# --- exports ---
model=$work/alone/step-000010
grep -q '"Qwen3ForCausalLM"' "$model/config.json" || fail "config.json of the checkpoint names another class"
exports_agree "$model" "$work/out" "" "self_attn.q_norm.weight|attn_q_norm.weight"
run 2 "$atelier" train "$tiny" --set run.folder="$work/unknown" --set data.train="$work/fiches.h5" \
    --set model.architecture.family=qwen9
expect_output "model_type 'qwen9' is unknown .supported: llama, mistral, ministral, ministral3, qwen3, qwen2, olmo2, olmo3, granite, phi3, smollm3, nemotron, gemma2, gemma3_text, apertus"
