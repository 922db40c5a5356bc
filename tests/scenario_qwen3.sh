#!/bin/sh
# scenario_qwen3.sh - a new Qwen3 (queries and keys normalised, heads wider than width / heads): the same losses on 1, 2
# and 4 ranks, a resume to the bit, and exports that are read back with the same perplexity under Qwen3's own names.
# That its arithmetic is Qwen3's, tests/test_model.c compares with transformers.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario qwen3
prepare_sample

# qwen3 CODE RANKS FOLDER [SETTING]...
qwen3() {
    code_wanted=$1 ranks=$2 folder=$3
    shift 3
    train "$code_wanted" "$ranks" "$folder" --set model.architecture.family=qwen3 --set model.architecture.head_dim=24 \
        --set optimizer.learning_rate=3e-3 "$@"
}

# --- other layouts ---
qwen3 0 0 "$work/alone" --set checkpoint.every_steps=5
losses "$work/alone" >"$work/alone.losses"
for layout in 2:0 2:3 4:2; do
    ranks=${layout%:*} stage=${layout#*:}
    folder=$work/ranks-$ranks-stage-$stage
    qwen3 0 "$ranks" "$folder" --set "parallel.stage=$stage"
    losses "$folder" >"$work/got"
    is_within "$work/got" "$work/alone.losses" 1e-5 || fail "$ranks ranks, stage $stage: losses differ by $worst"
    say "$ranks ranks, stage $stage: largest relative difference of the losses $worst"
done
train 0 0 "$work/llama" --set optimizer.learning_rate=3e-3 --set model.architecture.head_dim=24
losses "$work/llama" >"$work/got"
if is_within "$work/got" "$work/alone.losses" 1e-5; then
    fail "a Llama of the same sizes has the same losses: the comparison sees nothing"
fi

# --- resume, to the bit ---
qwen3 0 0 "$work/split" --set train.steps=5
qwen3 0 0 "$work/split"
for file in model state/master state/adam_m state/adam_v; do
    cmp "$work/alone/step-000010/$file.safetensors" "$work/split/step-000010/$file.safetensors" ||
        fail "$file differs after a resume"
done
qwen3 0 0 "$work/recomputed" --set train.recompute=layer
cmp "$work/alone/step-000010/model.safetensors" "$work/recomputed/step-000010/model.safetensors" ||
    fail "weights differ where layers are computed again"
say "a resume and recomputed layers give the same bits"

# --- exports ---
perplexity() {
    run 0 "$atelier" eval "$1" --data "$work/fiches-valid.h5" --json
    json_number perplexity "$log"
}
model=$work/alone/step-000010
grep -q '"Qwen3ForCausalLM"' "$model/config.json" || fail "config.json of the checkpoint names another class"
trained=$(perplexity "$model") || fail "$trained"
for form in hf gguf; do
    exported=$work/$form
    [ $form = hf ] || exported=$exported.gguf
    run 0 "$atelier" export "$model" --to $form --type f32 --out "$exported"
    expect_output "read back, its logits differ"
    run 0 "$atelier" inspect "$exported" --json
    expect_output "self_attn.q_norm.weight|attn_q_norm.weight"
    now=$(perplexity "$exported") || fail "$now"
    away=$(awk -v a="$now" -v b="$trained" 'BEGIN { d = (a - b) / b; printf "%.2g", d < 0 ? -d : d }')
    is_at_most "$away" 1e-6 || fail "the perplexity of '$exported' is $now, the trained model's $trained"
    say "$form: perplexity $now, $away from the trained model's"
done
run 2 "$atelier" train "$tiny" --set run.folder="$work/unknown" --set data.train="$work/fiches.h5" \
    --set model.architecture.family=qwen9
expect_output "model_type 'qwen9' is unknown .supported: llama, mistral, ministral3, qwen3, qwen2, olmo2, smollm3, nemotron, gemma3_text"
