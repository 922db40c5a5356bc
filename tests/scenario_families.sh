#!/bin/sh
# scenario_families.sh - new models of the families that have no scenario of their own: the same losses on 2 and 4 ranks as on
# one, and exports that are read back with the same perplexity under the family's own names.  That their arithmetic is the
# family's, tests/test_model.c compares with transformers.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
# shellcheck source=tests/family_checks.sh
. "$(dirname "$0")/family_checks.sh"
scenario families
prepare_sample
whole=$tiny
sed '/^model:/,/^data:/{/^data:/!d}' "$tiny" >"$work/lora.yaml"
printf '\nadapter: {method: lora, rank: 4, alpha: 8}\n' >>"$work/lora.yaml"

# train_family CODE RANKS FOLDER [SETTING]... - of the family that $name says.
train_family() {
    code_wanted=$1 ranks_wanted=$2 folder=$3
    shift 3
    # llama.cpp opens no tied model of these.
    case $name in olmo2 | olmo3 | apertus) set -- "$@" --set model.architecture.tied_head=false ;; esac
    train "$code_wanted" "$ranks_wanted" "$folder" --set "model.architecture.family=$name" \
        --set optimizer.learning_rate=3e-3 --set "model.architecture.layers=$layers" "$@"
}

# adapter_is_served HITS - of NAME, whose class is CLASS: an adapter on what was exported is written for other programs, which
# look for each of its modules under the class's names.
adapter_is_served() {
    tiny=$work/lora.yaml
    train 0 0 "$work/$name-lora" --set "model.path=$work/$name-hf" --set train.steps=2
    tiny=$whole
    run 0 "$atelier" export "$work/$name-lora/step-000002" --to peft --out "$work/$name-peft"
    expect_output "^$1 of $1 modules hit \($class\)"
    run 0 "$atelier" export "$work/$name-lora/step-000002" --to gguf-lora --for "$work/$name-gguf.gguf" --out "$work/$name-lora.gguf"
    expect_output "^$1 of $1 modules hit"
    say "$name, an adapter: $1 of $1 modules hit ($class)"
}

# family NAME CLASS WORDS [LAYERS] - WORDS: a pattern of what 'inspect' tells of the exports, in Hugging Face's form or in
# GGUF's, that Llama does not have.
family() {
    name=$1 class=$2 words_wanted=$3 layers=${4:-2}
    train_family 0 0 "$work/$name" --set parallel.stage=0
    # shellcheck disable=SC2046 # words
    layouts_agree "$work/$name" "$name, " $(sampled "$next_layout" "2:3 4:2")
    [ "$next_layout" = 2:3 ] && next_layout=4:2 || next_layout=2:3
    if [ -s "$work/before.losses" ] && is_within "$work/before.losses" "$work/$name.losses" 1e-5; then
        fail "$name has the same losses as the family before it: the comparison sees nothing"
    fi
    cp "$work/$name.losses" "$work/before.losses"
    grep -q "\"$class\"" "$work/$name/step-000010/config.json" ||
        fail "config.json of the checkpoint names another class than $class"
    exports_agree "$work/$name/step-000010" "$work/$name" "$name, " "$words_wanted"
    case $name in
    phi3) ;; # its matrices are fused
    apertus) adapter_is_served $((6 * layers)) ;; # no gate
    *) adapter_is_served $((7 * layers)) ;;
    esac
}

next_layout=2:3 # of the sample: each family has one, in turn
family qwen2 Qwen2ForCausalLM "self_attn.q_proj.bias|attn_q.bias"
family olmo2 Olmo2ForCausalLM "post_feedforward_layernorm.weight|post_ffw_norm.weight"
family olmo3 Olmo3ForCausalLM "post_feedforward_layernorm.weight|post_ffw_norm.weight" 4
family granite GraniteForCausalLM granite
family phi3 Phi3ForCausalLM "self_attn.qkv_proj.weight|attn_qkv.weight"
family smollm3 SmolLM3ForCausalLM smollm3 4
family ministral3 Ministral3ForCausalLM ministral3
family gemma2 Gemma2ForCausalLM "post_feedforward_layernorm.weight|post_ffw_norm.weight" 4
family gemma3_text Gemma3ForCausalLM "pre_feedforward_layernorm.weight|attn_q_norm.weight" 6
family apertus ApertusForCausalLM "mlp.act_fn.alpha_p|xielu.alpha_p"

# --- what config.json leaves to its class is said; nothing is where it leaves nothing ---
cp -r "$work/smollm3-hf" "$work/said"
run 0 "$atelier" eval "$work/said" --data "$work/fiches-valid.h5"
if grep -qE "max_position_embeddings|dropped" "$log"; then fail "a default is said of a model that leaves nothing to its class"; fi
sed -i 's/"max_position_embeddings": [0-9]*,/"attention_dropout": 0.25,/' "$work/said/config.json"
run 0 "$atelier" eval "$work/said" --data "$work/fiches-valid.h5"
expect_output "max_position_embeddings is missing, 32768 is taken, the default of model_type 'smollm3'"
expect_output "attention_dropout is 0.25, and nothing is dropped in training here"
cat >"$work/said/config.json" <<'END'
{"model_type": "gemma3", "text_config": {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2}}
END
printf 'run:\n  folder: %s/planned\nmodel:\n  path: %s/said\ndata:\n  train: %s/fiches.h5\n' "$work" "$work" "$work" \
    >"$work/said.yaml"
run 0 "$atelier" plan "$work/said.yaml" --ranks 1
for default in max_position_embeddings:131072 vocab_size:262208 num_attention_heads:8; do
    expect_output "${default%:*} is missing, ${default#*:} is taken, the default of model_type 'gemma3_text'"
done
if grep -qE "(hidden_size|num_hidden_layers) is missing" "$log"; then fail "a key that is there is said to be missing"; fi

# --- longrope: whose factors turn short documents depends on the run's sequences, which a plan and the run say ---
cp -r "$work/phi3-hf" "$work/long"
sed -i 's/"rope_type": *"default"/"rope_type": "longrope", "short_factor": [1, 1, 1, 1, 1, 1, 1, 1], "long_factor": [1, 1, 2, 2, 3, 3, 4, 4]/
    s/"original_max_position_embeddings": *[0-9]*/"original_max_position_embeddings": 32/
    /^  "rope_theta"/d; /^  "rope_scaling"/d; /^  "partial_rotary_factor"/d' "$work/long/config.json" # the older spelling
sed '/^model:/,/^data:/{/^data:/!d}' "$whole" >"$work/long.yaml"
tiny=$work/long.yaml
for tokens in 64 32; do # the second is the control
    train 0 0 "$work/long-$tokens" --set "model.path=$work/long" --set train.steps=1 --set "data.sequence_tokens=$tokens"
    cp "$log" "$work/long-$tokens.log"
    run 0 "$atelier" plan "$tiny" --ranks 1 --set "run.folder=$work/planned" --set "data.train=$work/fiches.h5" \
        --set "model.path=$work/long" --set "data.sequence_tokens=$tokens"
    cat "$log" >>"$work/long-$tokens.log"
    said=0
    [ "$tokens" = 32 ] || said=2
    expect "how often it is said of $tokens tokens" "$said" \
        "$(grep -c "data.sequence_tokens $tokens: beyond 32, longrope's long_factor turns all documents" "$work/long-$tokens.log")"
done
say "longrope: said of 64 tokens, and not of 32"
