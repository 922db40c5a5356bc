#!/bin/sh
# scenario_configs.sh - every ready run file for a supercomputer is accepted by plan and by submit --dry-run: it fits
# into the GPUs it asks for, and into the site's rules.  Of the models only config.json is needed, with the sizes of
# the ones that the files are made for.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario configs
atelier=$PWD/$atelier
work=$PWD/$work
configs=$PWD/configs
ATELIER_SITES=$PWD/slurm/sites
export ATELIER_SITES

# model FOLDER TYPE ARCHITECTURE WIDTH LAYERS HEADS KV_HEADS HEAD_DIM FFN VOCABULARY TIED
model() {
    mkdir -p "$work/models/$1"
    cat >"$work/models/$1/config.json" <<END
{"model_type": "$2", "architectures": ["$3"], "hidden_size": $4, "num_hidden_layers": $5, "num_attention_heads": $6,
 "num_key_value_heads": $7, "head_dim": $8, "intermediate_size": $9, "vocab_size": ${10}, "tie_word_embeddings": ${11},
 "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu",
 "sliding_window": null, "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2}
END
}
for kind in "" -instruct; do
    model "llama-3.2-1b$kind" llama LlamaForCausalLM 2048 16 32 8 64 8192 128256 true
    model "llama-3.1-8b$kind" llama LlamaForCausalLM 4096 32 32 8 128 14336 128256 false
done
for kind in base instruct; do
    model "mistral-small-24b-$kind" mistral MistralForCausalLM 5120 40 32 8 128 32768 131072 false
done

# speed CONFIG [ARGUMENT...] - tokens/s as planned; nothing where it does not fit.
speed() {
    (cd "$work" && "$atelier" plan "$@" --set slurm.account=abc --json 2>/dev/null) >"$work/plan.json" || return 0
    sed -n 's/^  "tokens_per_s": \([0-9.]*\),$/\1/p' "$work/plan.json"
}

pretend_cuda "$work/atelier-cuda"
count=0
for config in "$configs"/jeanzay_*.yaml; do
    name=$(basename "$config")
    (cd "$work" && "$atelier" plan "$config" --set slurm.account=abc >plan.txt 2>&1) ||
        { cat "$work/plan.txt"; fail "$name: plan refuses it"; }
    (cd "$work" && "$atelier" submit "$config" --program ./atelier-cuda --dry-run --set slurm.account=abc >job.sh 2>submit.txt) ||
        { cat "$work/submit.txt"; fail "$name: submit refuses it"; }
    grep -q '^#SBATCH' "$work/job.sh" || fail "$name: submit printed no script"
    # Its layout is the planner's choice, and no slower than one that was fixed by hand.
    grep -q '^chosen .*the fastest expected of what fits' "$work/plan.txt" || fail "$name: the layout is not automatic"
    chosen=$(speed "$config")
    for replicas in 0 1; do
        by_hand=$(speed "$config" --set parallel.stage=3 --set "parallel.replicas=$replicas" --set train.micro_sequences=1 \
            --set train.recompute=layer)
        is_at_most "${by_hand:-0}" "$chosen" ||
            fail "$name: $chosen tokens/s with the layout that was chosen, $by_hand with one set by hand"
    done
    count=$((count + 1))
done
test $count -ge 22 || fail "only $count run files were found"

# The control: the largest model on one node does not fit, and the exit code says so.
if (cd "$work" && "$atelier" plan "$configs/jeanzay_v100_24b_continue.yaml" --set slurm.account=abc --set slurm.nodes=1 \
    >plan.txt 2>&1); then
    cat "$work/plan.txt"
    fail "24 billion parameters are said to fit into one node of V100"
fi
echo "$count run files are accepted"
