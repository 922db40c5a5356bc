#!/bin/sh
# scenario_expert_axis.sh - ranks that divide the experts of a layer (parallel.expert): the losses of one rank, with the routers'
# losses and what is told of shares, with a replica more, also apart, with questions in the middle, with an adapter on attention
# or experts, also of a base in fewer bits, and with gradients in 8 bits between replicas; resumed from one rank to two, to four and back; the memory and the bytes that plan tells; what is
# refused, with a way out.  Weights, every stage and mistakes that must be seen are in tests/test_ranks_expert.c.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario expert-axis
prepare_sample

sizes="--set model.architecture.experts=8 --set model.architecture.experts_per_token=2 --set model.architecture.ffn_width=48"
mixtral="$sizes --set model.architecture.family=mixtral --set optimizer.learning_rate=3e-3"
routers="$mixtral --set objective.load_balance=0.02 --set objective.router_z=0.01"

# agrees NAME RANKS "DIVIDING SETTINGS" [SETTING]... - the losses of one rank alone, and of RANKS.
agrees() {
    name=$1 dividing=$2 settings=$3 tried=$(echo "$3" | tr -d "=. ")
    shift 3
    [ -e "$work/$name.losses" ] || { train 0 0 "$work/$name" "$@"; losses "$work/$name" >"$work/$name.losses"; }
    # shellcheck disable=SC2086 # words
    train 0 "$dividing" "$work/$name-$dividing-$tried" "$@" $settings
    losses "$work/$name-$dividing-$tried" >"$work/got"
    is_within "$work/got" "$work/$name.losses" 1e-5 || fail "$name, $dividing ranks $settings: losses differ by $worst"
    say "$name, $dividing ranks $settings: largest relative difference of the losses $worst"
}

# told NAME KEY - step and value, of each step.
told() {
    sed -n 's/.*"step": \([0-9]*\), "loss".*"'"$2"'": *\([0-9.e+-]*\).*/\1 \2/p' "$work/$1/metrics.jsonl"
}

# shellcheck disable=SC2086 # words
{
    agrees mixtral 2 "--set parallel.expert=2" $mixtral
    agrees mixtral 4 "--set parallel.expert=2 --set parallel.replicas=2 --set parallel.stage=1" $mixtral
    agrees routers 2 "--set parallel.expert=2 --set train.recompute=mlp" $routers
    for family in qwen3_moe gpt_oss; do
        agrees "$family" 4 "--set parallel.expert=4" $sizes --set "model.architecture.family=$family" \
            --set model.architecture.tied_head=false
    done
}

# --- what is told of the routers is what one rank tells ---
for key in load_balance router_z fullest_expert emptiest_expert; do
    told routers $key >"$work/alone.told"
    told routers-2---setparallelexpert2--settrainrecomputemlp $key >"$work/two.told"
    [ -s "$work/alone.told" ] || fail "no $key in metrics.jsonl"
    is_within "$work/two.told" "$work/alone.told" 1e-5 || fail "$key differs by $worst"
done

# The control: without the routers' losses the losses are others.
if is_within "$work/mixtral.losses" "$work/routers.losses" 1e-5; then fail "the routers' losses are not seen in the comparison"; fi

# --- replicas that learn apart, each of two ranks, which divide experts or have all of them ---
for expert in 1 2; do
    # shellcheck disable=SC2086 # words
    train 0 4 "$work/apart-$expert" $mixtral --set parallel.replicas=2 --set parallel.sync_every=2 --set "parallel.expert=$expert" \
        --set train.steps=6
    losses "$work/apart-$expert" >"$work/apart-$expert.losses"
done
is_within "$work/apart-2.losses" "$work/apart-1.losses" 1e-5 || fail "where replicas learn apart losses differ by $worst"
head -n 6 "$work/mixtral.losses" >"$work/got"
if is_within "$work/apart-2.losses" "$work/got" 1e-5; then fail "replicas that learn apart have the losses of those that do not"; fi

# --- questions in the middle, not as many for each rank ---
for n in 1 2 3 4 5; do
    echo "{\"id\": \"$n\", \"query\": \"La carte $n est\", \"choices\": [\"verte\", \"en ligne\"], \"gold\": 0, \"group\": \"g\"}"
done >"$work/questions.jsonl"
asked="$mixtral --set train.steps=2 --set eval.every_steps=1 --set eval.tasks=[$work/questions.jsonl]"
# shellcheck disable=SC2086 # words
{
    train 0 0 "$work/asked-1" $asked
    train 0 4 "$work/asked-4" $asked --set parallel.expert=4 --set parallel.stage=0
}
for ranks in 1 4; do
    sed -n 's/.*"event": "tasks", \("step": [0-9]*, "all": {[^}]*}\).*/\1/p' "$work/asked-$ranks/metrics.jsonl" >"$work/asked-$ranks.told"
done
[ -s "$work/asked-1.told" ] || fail "no answers in metrics.jsonl"
cmp "$work/asked-1.told" "$work/asked-4.told" || fail "the answers are others where ranks divide experts"

# --- from one rank to two, to four and back, in the middle ---
# shellcheck disable=SC2086 # words
{
    train 0 0 "$work/moved" --set train.steps=3 $mixtral
    train 0 2 "$work/moved" --set train.steps=5 $mixtral --set parallel.expert=2
    train 0 4 "$work/moved" --set train.steps=7 $mixtral --set parallel.expert=4 --set parallel.stage=1
    train 0 0 "$work/moved" $mixtral
}
losses "$work/moved" >"$work/got"
is_within "$work/got" "$work/mixtral.losses" 1e-5 || fail "resumed on other ranks the losses differ by $worst"
say "resumed on one rank, two, four and one: largest relative difference of the losses $worst"

# --- a checkpoint is as large as one rank's ---
for run in mixtral mixtral-2---setparallelexpert2; do
    sed -n 's/.*"event": "checkpoint".*"size_bytes": \([0-9]*\).*/\1/p' "$work/$run/metrics.jsonl" | tail -n 1 >"$work/$run.size"
done
[ -s "$work/mixtral.size" ] || fail "no size of a checkpoint in metrics.jsonl"
expect "bytes of a checkpoint" "$(cat "$work/mixtral.size")" "$(cat "$work/mixtral-2---setparallelexpert2.size")"

# --- gradients that cross between replicas in 8 bits: experts' too ---
# shellcheck disable=SC2086 # words
for expert in 1 2; do
    train 0 4 "$work/codes-$expert" $mixtral --set parallel.replicas=2 --set parallel.stage=2 --set parallel.wire=int8 \
        --set "parallel.expert=$expert" --set train.steps=6
    losses "$work/codes-$expert" >"$work/codes-$expert.losses"
done
is_within "$work/codes-2.losses" "$work/codes-1.losses" 1e-4 || fail "in 8 bits losses differ by $worst"

# --- plan knows the ranks, what they send, and the memory that the run takes ---
settings="$mixtral --set parallel.expert=2 --set train.steps=1 --set train.recompute=layer --set parallel.stage=2"
# shellcheck disable=SC2086 # words
train 0 2 "$work/planned" $settings
taken=$(sed -n 's/.*memory per rank, planned: \([0-9.]*\) GiB.*/\1/p' "$log" | head -n 1)
# shellcheck disable=SC2086 # words
run 0 "$atelier" plan "$tiny" --ranks 2 --set run.device=cpu --set "run.folder=$work/planned" --set "data.train=$work/fiches.h5" $settings
expect_output "2 divide the experts of a layer"
expect_output "[MG]B between ranks that divide experts"
[ -n "$taken" ] || fail "the run does not tell its memory"
expect "memory by plan and by train" "$taken" "$(sed -n 's/^memory  *\([0-9.]*\) GiB a rank.*/\1/p' "$log")"

# --- auto: the number that by plan takes the least time, and train's as plan's ---
mkdir "$work/wide"
cat >"$work/wide/config.json" <<END
{"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336,
 "num_hidden_layers": 4, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "num_local_experts": 8,
 "num_experts_per_tok": 2, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 1e6, "hidden_act": "silu",
 "torch_dtype": "bfloat16", "tie_word_embeddings": false, "sliding_window": null, "bos_token_id": 1, "eos_token_id": 2}
END
by_number() { # NUMBER - seconds of a step by plan, on four nodes
    run 0 "$atelier" plan configs/jeanzay_h100_8b_continue.yaml --set "model.path=$work/wide" --set slurm.nodes=4 \
        --set data.sequence_tokens=2048 --set train.batch_sequences=64 --set "parallel.expert=$1" --json
    json_number step_s "$log"
}
by_hand=$(for number in 1 2 4 8; do by_number "$number"; done | sort -g | head -n 1)
expect "the step of parallel.expert: auto" "$by_hand" "$(by_number auto)"
grep -q '"chosen": "expert [248], ' "$log" || fail "parallel.expert: auto takes none: $(grep chosen "$log")"
[ "$(by_number 1)" != "$by_hand" ] || fail "without parallel.expert a step takes as long"
settings="$mixtral --set train.steps=1 --set parallel.stage=1 --set parallel.replicas=1 --set parallel.expert=auto"
# shellcheck disable=SC2086 # words
run 0 "$atelier" plan "$tiny" --ranks 4 --set run.device=cpu --set "run.folder=$work/planned" --set "data.train=$work/fiches.h5" $settings --json
chosen=$(sed -n 's/.*"chosen": "\(expert [124]\), the fastest expected.*/\1/p' "$log")
# shellcheck disable=SC2086 # words
train 0 4 "$work/chosen" $settings
expect "what train chose" "$chosen" "$(sed -n 's/^chosen: \(expert [124]\), the fastest expected.*/\1/p' "$log")"
[ -n "$chosen" ] || fail "what parallel.expert: auto chose is not told"

# --- what is refused ---
# refused PHRASE RANKS SETTING...
refused() {
    phrase=$1 dividing=$2
    shift 2
    # shellcheck disable=SC2086 # words
    train 2 "$dividing" "$work/never" $mixtral "$@"
    expect_output "$phrase"
}
refused "parallel.expert: 3 ranks cannot be split into groups of 2" 3 --set parallel.expert=2
refused "parallel.expert: 2 ranks cannot divide 5 experts: take a divisor" 2 --set parallel.expert=2 --set model.architecture.experts=5
refused "parallel.expert: optimizer.kind muon was not proven" 2 --set parallel.expert=2 --set optimizer.kind=muon
refused "has experts, which ranks do not divide by rows; set it to 1, and take parallel.expert" 4 --set parallel.expert=2 \
    --set parallel.tensor=2
refused "train.reproducible.*parallel.expert" 2 --set parallel.expert=2 --set train.reproducible=layout
train 2 2 "$work/never" --set parallel.expert=2
expect_output "parallel.expert is 2, and model_type 'llama' has no experts: set it to 1"

# --- an adapter on attention, and on experts ---
run 0 "$atelier" export "$work/mixtral/step-000010" --to hf --type f32 --output "$work/mixtral-hf"
sed '/^model:/,/^data:/{/^data:/!d}' "$tiny" >"$work/lora.yaml"
printf '\nadapter: {method: lora, rank: 4, alpha: 8}\n' >>"$work/lora.yaml"
tiny=$work/lora.yaml
agrees adapter 2 "--set parallel.expert=2 --set parallel.stage=3" --set "model.path=$work/mixtral-hf"
agrees adapter 2 "--set parallel.expert=2 --set parallel.stage=0" --set "model.path=$work/mixtral-hf"
agrees pairs 2 "--set parallel.expert=2 --set parallel.stage=2" --set "model.path=$work/mixtral-hf" --set 'adapter.targets=[all-linear]'
agrees pairs 4 "--set parallel.expert=4 --set parallel.stage=0" --set "model.path=$work/mixtral-hf" --set 'adapter.targets=[all-linear]'
if is_within "$work/pairs.losses" "$work/adapter.losses" 1e-5; then fail "pairs on experts are not seen in the comparison"; fi
agrees packed 4 "--set parallel.expert=2 --set parallel.stage=3" --set "model.path=$work/mixtral-hf" --set adapter.base=nf4_double
if is_within "$work/packed.losses" "$work/adapter.losses" 1e-5; then fail "a base in fewer bits is not seen in the comparison"; fi
