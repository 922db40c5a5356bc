#!/bin/sh
# scenario_context.sh - ranks that share the texts of a micro-batch (parallel.context): the curve of one rank, for families whose
# layers have windows, QK-norm, biases or norms after their branches, with an adapter and its dropout, with shards and replicas
# beside them; resumed from one rank to two and back; what they cannot share is refused with a way out.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario context
prepare_sample

# agrees NAME RANKS SETTINGS [SETTING]... - the losses of one rank alone, and of RANKS of which each two share texts; SETTINGS: of
# the latter alone.
agrees() {
    name=$1 sharing=$2 settings=$3 tried=$(echo "$3" | tr -d "=.")
    shift 3
    [ -e "$work/$name.losses" ] || { train 0 0 "$work/$name" "$@"; losses "$work/$name" >"$work/$name.losses"; }
    # shellcheck disable=SC2086 # words
    train 0 "$sharing" "$work/$name-$sharing-$tried" "$@" --set parallel.context=2 $settings
    losses "$work/$name-$sharing-$tried" >"$work/got"
    is_within "$work/got" "$work/$name.losses" 1e-5 || fail "$name, $sharing ranks $settings: losses differ by $worst"
    say "$name, $sharing ranks that share texts by two $settings: largest relative difference of the losses $worst"
}

agrees llama 2 ""
agrees llama 4 --set=parallel.stage=3
agrees llama 4 --set=parallel.replicas=2
agrees llama 2 --set=train.recompute=layer
for family in gemma3_text qwen3 olmo2 qwen2; do
    agrees "$family" 2 "" --set "model.architecture.family=$family" --set optimizer.learning_rate=1e-3
done

# What travels is told of each step: of texts that both ranks have what plan counts, and less where each has texts of its own.
most_sent() { sed -n 's/^{"step".*"rows_bytes": \([0-9]*\),.*/\1/p' "$1/metrics.jsonl" | sort -n | tail -n 1; }
most_planned() {
    run 0 "$atelier" plan "$tiny" --set "data.train=$work/fiches.h5" --set "data.valid=$work/fiches-valid.h5" --ranks 2 \
        --set parallel.context=2 --json "$@"
    sed -n 's/.*"context": \([0-9][0-9]\{2,\}\),*$/\1/p' "$log"
}
sent=$(most_sent "$work/llama-2-") planned=$(most_planned)
[ "$sent" = "$planned" ] || fail "a step sent '$sent' bytes of rows, plan counts '$planned'"
grep -q rows_bytes "$work/llama/metrics.jsonl" && fail "a rank alone tells what it sent to others"
wide="--set data.sequence_tokens=256 --set train.micro_sequences=2 --set train.batch_sequences=2"
# shellcheck disable=SC2086 # words
agrees wide 2 "" $wide
# shellcheck disable=SC2086 # words
sent=$(most_sent "$work/wide-2-") planned=$(most_planned $wide)
[ "$sent" -lt "$planned" ] || fail "ranks with texts of their own sent '$sent' bytes of rows in a step, plan counts '$planned'"
say "bytes of rows in a step, where each rank has texts of its own: $sent; $planned by plan"

# The control: another seed has other losses.
train 0 0 "$work/other" --set run.seed=8
losses "$work/other" >"$work/got"
if is_within "$work/got" "$work/llama.losses" 1e-5; then fail "another seed has the same losses: the comparison sees nothing"; fi

# --- from one rank to two and back, in the middle ---
train 0 0 "$work/moved" --set train.steps=4
train 0 2 "$work/moved" --set train.steps=7 --set parallel.context=2
train 0 0 "$work/moved"
losses "$work/moved" >"$work/got"
is_within "$work/got" "$work/llama.losses" 1e-5 || fail "resumed on other ranks the losses differ by $worst"

# --- what is refused ---
train 2 3 "$work/odd" --set parallel.context=2
expect_output "parallel.context: 3 ranks cannot be split into groups of 2"
train 2 4 "$work/heads" --set parallel.context=4
expect_output "parallel.context: 4 ranks cannot share .* heads with .* take a divisor of both"

# --- an adapter with a dropout: what a row leaves out is keyed by its place, whoever computes it ---
adapt "$work/llama/step-000010"
agrees adapter 2 "" --set adapter.dropout=0.25
