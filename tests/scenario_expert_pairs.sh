#!/bin/sh
# scenario_expert_pairs.sh - an adapter with pairs on experts: the same losses on 2 and 4 ranks as on one, the same bits after a resume
# and where layers are computed again, also on a base in NF4; the adapter, and what it is merged into, have one perplexity; and what is
# refused.  That the pairs compute what peft's do, tests/test_lora.c checks.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
# shellcheck source=tests/family_checks.sh
. "$(dirname "$0")/family_checks.sh"
scenario expert_pairs
prepare_sample

# --- a base of Qwen3-MoE's kind ---
train 0 0 "$work/base" --set model.architecture.family=qwen3_moe --set model.architecture.experts=5 \
    --set model.architecture.experts_per_token=2 --set model.architecture.ffn_width=48 \
    --set model.architecture.expert_weights_sum_to_one=true --set optimizer.learning_rate=3e-3
run 0 "$atelier" export "$work/base/step-000010" --to hf --type f32 --output "$work/model"

tiny=$work/pairs.yaml
sed '/^model:/,/^data:/{/^data:/!d}' tests/scenario/tiny.yaml >"$tiny"
printf '\nadapter: {method: lora, rank: 4, alpha: 8, targets: [q, gate, up, {name: down, rank: 3}]}\n' >>"$tiny"

# train_family CODE RANKS FOLDER [SETTING]...
train_family() {
    code_wanted=$1 ranks_wanted=$2 folder=$3
    shift 3
    train "$code_wanted" "$ranks_wanted" "$folder" --set "model.path=$work/model" --set optimizer.learning_rate=1e-2 "$@"
}

# same_pairs ONE OTHER WHAT
same_pairs() {
    for file in adapter_model state/master state/adam_m state/adam_v; do
        cmp "$1/step-000010/$file.safetensors" "$2/step-000010/$file.safetensors" || fail "$file differs $3"
    done
}

train_family 0 0 "$work/alone" --set parallel.stage=0
expect_output 'pairs are on experts as well'
layouts_agree "$work/alone" "" 2:1 2:3 4:2
train_family 0 0 "$work/split" --set train.steps=5
train_family 0 0 "$work/split"
same_pairs "$work/alone" "$work/split" "after a resume"
train_family 0 0 "$work/recomputed" --set train.recompute=layer
same_pairs "$work/alone" "$work/recomputed" "where layers are computed again"
train_family 0 2 "$work/four_bits" --set adapter.base=nf4
train_family 0 2 "$work/four_bits_again" --set adapter.base=nf4 --set parallel.stage=3
losses "$work/four_bits" >"$work/nf4.losses"
losses "$work/four_bits_again" >"$work/got"
is_within "$work/got" "$work/nf4.losses" 1e-5 || fail "on a base in NF4 the stage changes losses by $worst"
if is_within "$work/nf4.losses" "$work/alone.losses" 1e-5; then
    fail "a base in NF4 has the losses of one in f32: it was not used"
fi

# --- what it is merged into ---
base=$(perplexity "$work/model")
trained=$(perplexity "$work/alone/step-000010")
[ "$base" != "$trained" ] || fail "the pairs do nothing"
for form in hf gguf peft; do
    run 0 "$atelier" export "$work/alone/step-000010" --to $form --type f32 --output "$work/exported.$form"
    [ $form != peft ] || expect_output '^32 of 32 modules hit \(Qwen3MoeForCausalLM\)'
    [ $form != peft ] || expect_output 'pairs on experts: vLLM takes them where its version has them'
    now=$(perplexity "$work/exported.$form")
    away=$(awk -v a="$now" -v b="$trained" 'BEGIN { d = (a - b) / b; printf "%.2g", d < 0 ? -d : d }')
    is_at_most "$away" 1e-6 || fail "exported, --to $form: perplexity $now, the adapter's $trained"
    say "exported, --to $form: perplexity $now, $away from the adapter's ($base without it)"
done

# --- what is refused ---
run 1 "$atelier" export "$work/alone/step-000010" --to gguf-lora --output "$work/never.gguf"
expect_output 'pairs on experts are not written as a GGUF adapter yet: export it merged, --to gguf'
train_family 2 0 "$work/never" --set 'adapter.targets=[gate]'
expect_output 'gate and up of experts have pairs of the same rank and alpha, or neither'
train_family 2 0 "$work/never" --set adapter.dropout=0.1
expect_output 'adapter.dropout beside pairs on experts is not supported, nor is it by peft'
