#!/bin/sh
# scenario_nemotron.sh - a new Nemotron (LayerNorm with 1 + w and a bias, squared ReLU without a gate, half of each head
# turned): the same losses on 1, 2 and 4 ranks, a resume to the bit, and exports that are read back with the same perplexity
# under Nemotron's own names.  That its arithmetic is Nemotron's, tests/test_model.c compares with transformers.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
# shellcheck source=tests/family_checks.sh
. "$(dirname "$0")/family_checks.sh"
scenario nemotron
prepare_sample

# train_family CODE RANKS FOLDER [SETTING]...
train_family() {
    code_wanted=$1 ranks=$2 folder=$3
    shift 3
    train "$code_wanted" "$ranks" "$folder" --set model.architecture.family=nemotron --set model.architecture.head_dim=16 \
        --set model.architecture.tied_head="${tied:-false}" \
        --set optimizer.learning_rate=3e-3 "$@"
}

train_family 0 0 "$work/alone" --set checkpoint.every_steps=5
layouts_agree "$work/alone" "" 2:0 2:3 4:2
differs_from_llama "$work/alone" --set optimizer.learning_rate=3e-3 --set model.architecture.head_dim=16
resumes_to_the_bit "$work/alone"

# --- exports ---
model=$work/alone/step-000010
for word in '"NemotronForCausalLM"' '"norm_eps"' '"relu2"' '"partial_rotary_factor": 0.5'; do
    grep -q "$word" "$model/config.json" || fail "config.json of the checkpoint has no $word"
done
exports_agree "$model" "$work/out" "" "input_layernorm.bias|attn_norm.bias"

# --- a text, token by token ---
run 0 "$atelier" generate "$model" --prompt "Le" --max-tokens 8 --seed 1
[ -s "$log" ] || fail "nothing was generated"

# --- what llama.cpp cannot hold ---
tied=true
train_family 0 0 "$work/tied" --set train.steps=1
run 1 "$atelier" export "$work/tied/step-000001" --to gguf --out "$work/tied.gguf"
expect_output "llama.cpp has no 'nemotron' whose head is the embedding"
[ ! -e "$work/tied.gguf" ] || fail "a refused export left a file"
