#!/bin/sh
# scenario_glm.sh - a new GLM-4.5 (glm4_moe): a dense layer, a router of sigmoids, shared experts. The same losses on 2 and 4 ranks as on
# one, also where they divide experts and in bf16 at stage 3, where the router's correction is gathered in f32; the same bits after a
# resume, exports with the same perplexity, an adapter on attention; and what is refused.  That its arithmetic is the family's,
# tests/test_model.c compares with transformers.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
# shellcheck source=tests/family_checks.sh
. "$(dirname "$0")/family_checks.sh"
scenario glm
prepare_sample

# train_family CODE RANKS FOLDER [SETTING]...
train_family() {
    code_wanted=$1 ranks_wanted=$2 folder=$3
    shift 3
    train "$code_wanted" "$ranks_wanted" "$folder" --set model.architecture.family=glm4_moe --set model.architecture.experts=8 \
        --set model.architecture.experts_per_token=2 --set model.architecture.ffn_width=48 --set optimizer.learning_rate=3e-3 "$@"
}

# same_perplexity WHAT PATH - as the trained model has.
same_perplexity() {
    now=$(perplexity "$2") || fail "$now"
    away=$(awk -v a="$now" -v b="$trained" 'BEGIN { d = (a - b) / b; printf "%.2g", d < 0 ? -d : d }')
    is_at_most "$away" 1e-6 || fail "the perplexity of the $1 is $now, the trained model's $trained"
    say "$1: perplexity $now, $away from the trained model's"
}

# agrees RANKS LIMIT [SETTING]... - with the losses of one rank, in f32 or as much as its type rounds.
agrees() {
    ranks=$1 limit=$2
    shift 2
    rm -rf "$work/other"
    train_family 0 "$ranks" "$work/other" "$@"
    losses "$work/other" >"$work/got"
    is_within "$work/got" "$work/glm.losses" "$limit" || fail "$ranks ranks, $*: losses differ by $worst"
    say "$ranks ranks, $*: largest relative difference of the losses $worst"
}

train_family 0 0 "$work/glm" --set parallel.stage=0
losses "$work/glm" >"$work/glm.losses"
grep -q fullest_expert "$work/glm/metrics.jsonl" || fail "how even the shares of experts are is not told"
if grep -q -e load_balance -e router_z "$work/glm/metrics.jsonl"; then fail "losses of a softmax are told of sigmoids"; fi
grep -q '"intermediate_size": 96' "$work/glm/step-000010/config.json" || fail "the dense layer is not as wide as the experts of a token"
agrees 2 1e-5 --set parallel.stage=3
agrees 2 1e-5 --set parallel.expert=2 --set train.recompute=mlp
agrees 4 1e-5 --set parallel.expert=2 --set parallel.stage=2
# The control: other weights of the experts, and nothing agrees.
train_family 0 0 "$work/other-weights" --set model.architecture.expert_weights_sum_to_one=false
losses "$work/other-weights" >"$work/got"
if is_within "$work/got" "$work/glm.losses" 1e-5; then fail "weights that do not add up to one make no difference"; fi

resumes_to_the_bit "$work/glm"
trained=$(perplexity "$work/glm/step-000010") || fail "$trained"
run 0 "$atelier" export "$work/glm/step-000010" --to hf --type f32 --output "$work/hf"
expect_output "read back, its logits differ"
grep -q '"Glm4MoeForCausalLM"' "$work/hf/config.json" || fail "config.json of the export names another class"
same_perplexity "Hugging Face folder" "$work/hf"
run 0 "$atelier" export "$work/glm/step-000010" --to gguf --type f32 --output "$work/glm.gguf"
same_perplexity "GGUF file" "$work/glm.gguf"
run 0 "$atelier" generate "$work/hf" --prompt "La carte" --max-tokens 8
run 0 "$atelier" plan "$tiny" --set "model.path=$work/hf"
expect_output '^experts      2 of 8 for a token'

# --- in bf16: one rank, and two that gather everything ---
train_family 0 0 "$work/bf16" --set train.compute=bf16
losses "$work/bf16" >"$work/glm.losses"
agrees 2 2e-5 --set train.compute=bf16 --set parallel.stage=3

# --- an adapter ---
sed '/^model:/,/^data:/{/^data:/!d}' "$tiny" >"$work/lora.yaml"
printf '\nadapter: {method: lora, rank: 4, alpha: 8}\n' >>"$work/lora.yaml"
tiny=$work/lora.yaml
train 0 2 "$work/lora" --set "model.path=$work/hf" --set train.steps=2
expect_output 'pairs are on attention alone, which vLLM serves as it is: experts and routers have none$'
run 0 "$atelier" export "$work/lora/step-000002" --to peft --output "$work/peft"
expect_output '^8 of 8 modules hit \(Glm4MoeForCausalLM\)'
train 2 0 "$work/never" --set "model.path=$work/hf" --set 'adapter.targets=[down]'
expect_output "'down' is not a matrix of a layer of this model \(glm4_moe\); there are q, k, v, o, and all-linear"

# --- what is refused ---
tiny=tests/scenario/tiny.yaml
train_family 2 0 "$work/never" --set objective.load_balance=0.01
expect_output "objective.load_balance is a loss of routers whose scores are a softmax"
train_family 2 2 "$work/never" --set parallel.tensor=2
expect_output "'glm4_moe' has experts, which ranks do not divide by rows"
