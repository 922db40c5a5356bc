#!/bin/sh
# scenario_nemotron.sh - a new Nemotron (LayerNorm with 1 + w and a bias, squared ReLU without a gate, half of each head
# turned): the same losses on 1, 2 and 4 ranks, a resume to the bit, and exports that are read back with the same perplexity
# under Nemotron's own names.  That its arithmetic is Nemotron's, tests/test_model.c compares with transformers.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario nemotron
prepare_sample

# nemotron CODE RANKS FOLDER [SETTING]...
nemotron() {
    code_wanted=$1 ranks=$2 folder=$3
    shift 3
    train "$code_wanted" "$ranks" "$folder" --set model.architecture.family=nemotron --set model.architecture.head_dim=16 \
        --set model.architecture.tied_head="${tied:-false}" \
        --set optimizer.learning_rate=3e-3 "$@"
}

# --- other layouts ---
nemotron 0 0 "$work/alone" --set checkpoint.every_steps=5
losses "$work/alone" >"$work/alone.losses"
for layout in 2:0 2:3 4:2; do
    ranks=${layout%:*} stage=${layout#*:}
    folder=$work/ranks-$ranks-stage-$stage
    nemotron 0 "$ranks" "$folder" --set "parallel.stage=$stage"
    losses "$folder" >"$work/got"
    is_within "$work/got" "$work/alone.losses" 1e-5 || fail "$ranks ranks, stage $stage: losses differ by $worst"
    say "$ranks ranks, stage $stage: largest relative difference of the losses $worst"
done
train 0 0 "$work/llama" --set optimizer.learning_rate=3e-3 --set model.architecture.head_dim=16
losses "$work/llama" >"$work/got"
if is_within "$work/got" "$work/alone.losses" 1e-5; then
    fail "a Llama of the same sizes has the same losses: the comparison sees nothing"
fi

# --- resume, to the bit ---
nemotron 0 0 "$work/split" --set train.steps=5
nemotron 0 0 "$work/split"
for file in model state/master state/adam_m state/adam_v; do
    cmp "$work/alone/step-000010/$file.safetensors" "$work/split/step-000010/$file.safetensors" ||
        fail "$file differs after a resume"
done
nemotron 0 0 "$work/recomputed" --set train.recompute=layer
cmp "$work/alone/step-000010/model.safetensors" "$work/recomputed/step-000010/model.safetensors" ||
    fail "weights differ where layers are computed again"
say "a resume and recomputed layers give the same bits"

# --- exports ---
perplexity() {
    run 0 "$atelier" eval "$1" --data "$work/fiches-valid.h5" --json
    json_number perplexity "$log"
}
model=$work/alone/step-000010
for word in '"NemotronForCausalLM"' '"norm_eps"' '"relu2"' '"partial_rotary_factor": 0.5'; do
    grep -q "$word" "$model/config.json" || fail "config.json of the checkpoint has no $word"
done
trained=$(perplexity "$model") || fail "$trained"
for form in hf gguf; do
    exported=$work/$form
    [ $form = hf ] || exported=$exported.gguf
    run 0 "$atelier" export "$model" --to $form --type f32 --out "$exported"
    expect_output "read back, its logits differ"
    run 0 "$atelier" inspect "$exported" --json
    expect_output "input_layernorm.bias|attn_norm.bias"
    now=$(perplexity "$exported") || fail "$now"
    away=$(awk -v a="$now" -v b="$trained" 'BEGIN { d = (a - b) / b; printf "%.2g", d < 0 ? -d : d }')
    is_at_most "$away" 1e-6 || fail "the perplexity of '$exported' is $now, the trained model's $trained"
    say "$form: perplexity $now, $away from the trained model's"
done

# --- a text, token by token ---
run 0 "$atelier" generate "$model" --prompt "Le" --max-tokens 8 --seed 1
[ -s "$log" ] || fail "nothing was generated"

# --- what llama.cpp cannot hold ---
tied=true
nemotron 0 0 "$work/tied" --set train.steps=1
run 1 "$atelier" export "$work/tied/step-000001" --to gguf --out "$work/tied.gguf"
expect_output "llama.cpp has no 'nemotron' whose head is the embedding"
[ ! -e "$work/tied.gguf" ] || fail "a refused export left a file"
