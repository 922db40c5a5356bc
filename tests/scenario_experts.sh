#!/bin/sh
# scenario_experts.sh - new models with experts: the same losses on 2 and 4 ranks as on one, the same bits after a resume, exports
# with the same perplexity, an adapter on their attention; and what is refused.  That their arithmetic is the family's,
# tests/test_model.c compares with transformers.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
# shellcheck source=tests/family_checks.sh
. "$(dirname "$0")/family_checks.sh"
scenario experts
prepare_sample

# train_family CODE RANKS FOLDER [SETTING]... - of the family that $name says.  llama.cpp knows a Qwen3-MoE whose weights of a token's experts
# add up to one, and an OLMoE whose do not and which has keys of all heads, and
# a gpt-oss whose head is not the embedding.
train_family() {
    code_wanted=$1 ranks_wanted=$2 folder=$3
    shift 3
    sums=true
    keys=2 tied=true
    [ "$name" = gpt_oss ] && tied=false
    [ "$name" = olmoe ] && sums=false && keys=4
    train "$code_wanted" "$ranks_wanted" "$folder" --set "model.architecture.family=$name" \
        --set model.architecture.experts=5 --set model.architecture.experts_per_token=2 \
        --set model.architecture.ffn_width=48 --set "model.architecture.expert_weights_sum_to_one=$sums" \
        --set "model.architecture.kv_heads=$keys" \
        --set "model.architecture.tied_head=$tied" \
        --set optimizer.learning_rate=3e-3 "$@"
}

# hf_agrees NAME CLASS - the checkpoint as a Hugging Face folder.
hf_agrees() {
    run 0 "$atelier" export "$work/$1/step-000010" --to hf --type f32 --output "$work/$1-hf"
    expect_output "read back, its logits differ"
    grep -q "\"$2\"" "$work/$1-hf/config.json" || fail "config.json of the export names another class than $2"
    trained=$(perplexity "$work/$1/step-000010") || fail "$trained"
    now=$(perplexity "$work/$1-hf") || fail "$now"
    away=$(awk -v a="$now" -v b="$trained" 'BEGIN { d = (a - b) / b; printf "%.2g", d < 0 ? -d : d }')
    is_at_most "$away" 1e-6 || fail "the perplexity of the export is $now, the trained model's $trained"
    say "$1, exported: perplexity $now, $away from the trained model's"
}

# gguf_agrees NAME - the checkpoint as a GGUF file, which llama.cpp is asked about in tests/interop.
gguf_agrees() {
    run 0 "$atelier" export "$work/$1/step-000010" --to gguf --type f32 --output "$work/$1.gguf"
    now=$(perplexity "$work/$1.gguf") || fail "$now"
    away=$(awk -v a="$now" -v b="$trained" 'BEGIN { d = (a - b) / b; printf "%.2g", d < 0 ? -d : d }')
    is_at_most "$away" 1e-6 || fail "the perplexity of the GGUF file is $now, the trained model's $trained"
    say "$1, as GGUF: perplexity $now, $away from the trained model's"
}

# family NAME CLASS
family() {
    name=$1
    train_family 0 0 "$work/$name" --set parallel.stage=0
    layouts_agree "$work/$name" "$name, " 2:0 2:3 4:2
    if [ -s "$work/before.losses" ] && is_within "$work/before.losses" "$work/$name.losses" 1e-5; then
        fail "$name has the same losses as the family before it: the comparison sees nothing"
    fi
    cp "$work/$name.losses" "$work/before.losses"
    hf_agrees "$name" "$2"
    gguf_agrees "$name"
}

family mixtral MixtralForCausalLM
differs_from_llama "$work/mixtral" --set optimizer.learning_rate=3e-3
resumes_to_the_bit "$work/mixtral"
run 0 "$atelier" generate "$work/mixtral-hf" --prompt "La carte" --max-tokens 8
# Experts in one tensor: told, with the way out.
cp -r "$work/mixtral-hf" "$work/fused"
LC_ALL=C sed -i 's/"model.layers.0.block_sparse_moe.experts.0.w1.weight":/"model.layers.0.mlp.experts.gate_up_proj"            :/' "$work"/fused/*.safetensors
run 2 "$atelier" generate "$work/fused" --prompt "La carte" --max-tokens 1
expect_output "the experts of a layer stand in one tensor .'model.layers.0.mlp.experts.gate_up_proj'.; transformers writes them one by one"
family olmoe OlmoeForCausalLM
family qwen3_moe Qwen3MoeForCausalLM
family gpt_oss GptOssForCausalLM
run 0 "$atelier" generate "$work/gpt_oss-hf" --prompt "La carte" --max-tokens 8

# --- an adapter: on attention, which servers take ---
name=lora
sed '/^model:/,/^data:/{/^data:/!d}' "$tiny" >"$work/lora.yaml"
printf '\nadapter: {method: lora, rank: 4, alpha: 8}\n' >>"$work/lora.yaml"
tiny=$work/lora.yaml
train 0 2 "$work/lora" --set "model.path=$work/mixtral-hf" --set train.steps=2
expect_output 'pairs are on attention alone, which vLLM serves as it is'
run 0 "$atelier" export "$work/lora/step-000002" --to peft --output "$work/peft"
expect_output '^8 of 8 modules hit \(MixtralForCausalLM\)'
train 2 0 "$work/never" --set "model.path=$work/mixtral-hf" --set 'adapter.targets=[gate]'
expect_output 'gate and up of experts have pairs of the same rank and alpha, or neither'

train 0 0 "$work/oss" --set "model.path=$work/gpt_oss-hf" --set 'adapter.targets=[all-linear]' --set train.steps=2
expect_output 'pairs are on attention alone, which vLLM serves as it is: experts and routers have none$'
run 0 "$atelier" export "$work/oss/step-000002" --to peft --output "$work/oss-peft"
expect_output '^8 of 8 modules hit \(GptOssForCausalLM\)'
train 2 0 "$work/never" --set "model.path=$work/gpt_oss-hf" --set 'adapter.targets=[down]'
expect_output "'down' is not a matrix of a layer of this model \(gpt_oss\); there are q, k, v, o, and all-linear"

# --- what is refused ---
tiny=tests/scenario/tiny.yaml
name=mixtral
train_family 2 2 "$work/never" --set parallel.tensor=2
expect_output "'mixtral' has experts, which ranks do not divide by rows"
train 2 0 "$work/never" --set model.architecture.family=llama --set model.architecture.experts=4
expect_output "'llama' has no experts"
train 2 0 "$work/never" --set model.architecture.family=mixtral --set model.architecture.experts=4 \
    --set model.architecture.experts_per_token=5
expect_output "'model.architecture.experts_per_token' is 5 of 4 experts"
train 2 0 "$work/never" --set model.architecture.family=mixtral --set model.architecture.expert_weights_sum_to_one=false
expect_output 'always add up to one'
