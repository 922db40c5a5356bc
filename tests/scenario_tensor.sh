#!/bin/sh
# scenario_tensor.sh - ranks that divide the tensors of a layer (parallel.tensor): the curve of one rank, for families with biases,
# QK-norm, norms after their branches, soft-caps, windows and no gate, tied and not, with a teacher, with an adapter; with shards, replicas and
# ranks that share texts beside them; resumed from one rank to two and back; what they cannot divide is refused with a way out.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario tensor
prepare_sample

# agrees NAME RANKS SETTINGS [SETTING]... - the losses of one rank alone, and of RANKS of which each two divide tensors; SETTINGS: of
# the latter alone.
agrees() {
    name=$1 dividing=$2 settings=$3 tried=$(echo "$3" | tr -d "=. ")
    shift 3
    [ -e "$work/$name.losses" ] || { train 0 0 "$work/$name" "$@"; losses "$work/$name" >"$work/$name.losses"; }
    # shellcheck disable=SC2086 # words
    train 0 "$dividing" "$work/$name-$dividing-$tried" "$@" --set parallel.tensor=2 $settings
    losses "$work/$name-$dividing-$tried" >"$work/got"
    is_within "$work/got" "$work/$name.losses" 1e-5 || fail "$name, $dividing ranks $settings: losses differ by $worst"
    say "$name, $dividing ranks that divide tensors by two $settings: largest relative difference of the losses $worst"
}

# wide - heads for four ranks.
wide="--set model.architecture.heads=8 --set model.architecture.kv_heads=4"

agrees llama 2 ""
agrees llama 2 "--set parallel.stage=0"
agrees llama 4 "--set parallel.stage=3"
agrees llama 4 "--set parallel.stage=1"
agrees llama 4 "--set parallel.replicas=2"
agrees llama 2 "--set train.recompute=layer"
# shellcheck disable=SC2086 # words
agrees wide 4 "--set parallel.context=2" $wide
# shellcheck disable=SC2086 # words
agrees wide 4 "--set parallel.tensor=4" $wide
# shellcheck disable=SC2086 # words
agrees tied 4 "--set parallel.replicas=2" $wide --set model.architecture.tied_head=true
# qwen3's QK-norm is in gemma3_text, too, and nemotron's feed-forward part without a gate in apertus.
for family in $(sampled "qwen2 gemma2 gemma3_text apertus" "qwen2 qwen3 gemma2 gemma3_text apertus nemotron"); do
    agrees "$family" 2 "" --set "model.architecture.family=$family" --set optimizer.learning_rate=1e-3
done

# The control: another seed has other losses.
train 0 0 "$work/other" --set run.seed=8
losses "$work/other" >"$work/got"
if is_within "$work/got" "$work/llama.losses" 1e-5; then fail "another seed has the same losses: the comparison sees nothing"; fi

# --- from one rank to two, to four and back, in the middle ---
train 0 0 "$work/moved" --set train.steps=3
train 0 2 "$work/moved" --set train.steps=5 --set parallel.tensor=2
train 0 4 "$work/moved" --set train.steps=7 --set parallel.tensor=2 --set parallel.stage=3
train 0 0 "$work/moved"
losses "$work/moved" >"$work/got"
is_within "$work/got" "$work/llama.losses" 1e-5 || fail "resumed on other ranks the losses differ by $worst"

# --- plan knows the ranks, what they send, and the memory that the run takes ---
train 0 2 "$work/planned" --set parallel.tensor=2 --set train.steps=1 --set train.recompute=layer --set parallel.stage=0
taken=$(sed -n 's/.*memory per rank, planned: \([0-9.]*\) GiB.*/\1/p' "$log" | head -n 1)
run 0 "$atelier" plan "$tiny" --ranks 2 --set run.device=cpu --set "run.folder=$work/planned" --set "data.train=$work/fiches.h5" \
    --set parallel.tensor=2 --set train.steps=1 --set train.recompute=layer --set parallel.stage=0
expect_output "2 divide the tensors of a layer"
expect_output "[MG]B a rank and step between ranks that divide tensors"
[ -n "$taken" ] || fail "the run does not tell its memory"
expect "memory by plan and by train" "$taken" "$(sed -n 's/^memory  *\([0-9.]*\) GiB a rank.*/\1/p' "$log")"

# --- what is refused ---
train 2 3 "$work/odd" --set parallel.tensor=2
expect_output "parallel.tensor: 3 ranks cannot be split into groups of 2"
train 2 4 "$work/heads" --set parallel.tensor=4
expect_output "parallel.tensor: 4 ranks cannot divide .* heads with .* take a divisor of all"
train 2 2 "$work/rows" --set parallel.tensor=2 --set model.architecture.family=olmo2
expect_output "parallel.tensor: model_type 'olmo2' normalises the queries of all heads together"
train 2 2 "$work/muon" --set parallel.tensor=2 --set optimizer.kind=muon
expect_output "parallel.tensor: optimizer.kind muon works on whole matrices"
train 2 2 "$work/whole" --set parallel.tensor=2 --set model.architecture.family=phi3
expect_output "parallel.tensor: model_type 'phi3' has queries, keys and values, or gate and up, as one"
run 2 "$atelier" plan "$tiny" --ranks 2 --set "data.train=$work/none.h5" --set parallel.tensor=2 --set objective.kind=orpo
expect_output "parallel.tensor: ranks that divide tensors have rows of their own, and texts cannot be learnt against"
# shellcheck disable=SC2086 # words
train 2 8 "$work/both" --set parallel.tensor=4 --set parallel.context=2 $wide
expect_output "parallel.tensor: 8 ranks, with parallel.context 2, cannot divide 8 heads with 4 keys: take less of one"

# --- a teacher's words, of which each rank has a run ---
run 0 "$atelier" eval "$work/llama/step-000010" --data "$work/fiches.h5" --top-k 4 --output "$work/fiches.teacher"
agrees distilled 2 "" --set objective.kind=distill --set objective.top_k=4 --set "objective.teacher=$work/fiches.teacher"

# --- an adapter ---
adapt "$work/llama/step-000010"
agrees adapter 2 ""
agrees adapter 4 "--set parallel.stage=3"
train 2 2 "$work/drops" --set parallel.tensor=2 --set adapter.dropout=0.25
expect_output "parallel.tensor: adapter.dropout is not computed"
train 2 2 "$work/dora" --set parallel.tensor=2 --set adapter.method=dora
expect_output "parallel.tensor: adapter.method dora"
train 2 2 "$work/packed" --set parallel.tensor=2 --set adapter.base=nf4
expect_output "parallel.tensor: the blocks of adapter.base nf4"
