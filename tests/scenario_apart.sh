#!/bin/sh
# scenario_apart.sh - parallel.sync_every: replicas that learn apart.  The same run twice, and one that was stopped and resumed between two
# outer steps, give the same bytes, at every stage and with saves beside the training; a walk over stages stays on the curve; a
# checkpoint has what each replica keeps of its own, and after an outer step one model.  What it does not go with is refused by name,
# and so are another number of replicas, ranks or sequences in a restart.  Controls: another momentum, another interval and
# gradients added up in every step give other bytes.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario apart
prepare_sample

# apart WANTED_CODE RANKS FOLDER [ARGUMENT...] - 8 steps in two replicas, which meet after 3, 6 and 8.
apart() {
    wanted_code=$1 ranks=$2 folder=$work/$3
    shift 3
    train "$wanted_code" "$ranks" "$folder" --set parallel.replicas=2 --set parallel.sync_every=3 --set train.steps=8 \
        --set checkpoint.every_steps=4 --set valid.every_steps=3 "$@"
}

# bytes FOLDER - after 8 steps.
bytes() {
    trained_sums "$1" 000008
}

# resume_from_four FOLDER OF - a run that ended after 4 steps, between two outer steps.
resume_from_four() {
    copy_as_it_was "$1" "$2" 000004 000008
}

for stage in 0 1 3; do
    apart 0 4 "stage$stage" --set "parallel.stage=$stage"
    expect_output "the checkpoint of step 4 lies between two outer steps"
    grep -q "the checkpoint of step 8 lies" "$log" && fail "the last checkpoint is after an outer step"
    [ "$(bytes "stage$stage" | wc -l)" -eq 9 ] || fail "expected 9 files, got: $(bytes "stage$stage")"
    resume_from_four again "stage$stage"
    apart 0 4 again --set "parallel.stage=$stage"
    expect "bytes of a restart at stage $stage" "$(bytes "stage$stage")" "$(bytes again)"
done
apart 0 2 two
apart 0 2 twice --set checkpoint.async=false
expect "bytes of the same run, saved in another way" "$(bytes two)" "$(bytes twice)"
resume_from_four again two
apart 0 2 again --set checkpoint.async=true
expect "bytes of a restart" "$(bytes two)" "$(bytes again)"
say "restarts between two outer steps at stages 0, 1 and 3, saves beside the training: the same bytes"

# After an outer step replicas are one model; between two each has its own.
same() { # STEP
    cmp -s "$work/two/step-$1/state/master.safetensors" "$work/two/step-$1/state/master_replica1.safetensors"
}
same 000008 || fail "after an outer step the replicas have different weights"
if same 000004; then
    fail "between two outer steps the replicas have the same weights"
fi
cmp -s "$work/two/step-000008/state/adam_m.safetensors" "$work/two/step-000008/state/adam_m_replica1.safetensors" &&
    fail "the replicas have the same moments"

# Walks: 4 steps at one stage, the rest at another.
for walk in 0:3 3:1 1:0; do
    resume_from_four again "stage${walk%:*}"
    apart 0 4 again --set "parallel.stage=${walk#*:}"
    losses "$work/stage0" >"$work/want"
    losses "$work/again" >"$work/got"
    is_within "$work/got" "$work/want" 1.5e-8 || fail "stage ${walk%:*}, then ${walk#*:}: off by $(worst_difference "$work/got" "$work/want")"
done

# Controls.
apart 0 2 other --set parallel.outer_momentum=0.8
[ "$(bytes other)" != "$(bytes two)" ] || fail "another momentum gave the same bytes"
apart 0 2 other2 --set parallel.sync_every=1
[ "$(bytes other2)" != "$(bytes two)" ] || fail "another interval gave the same bytes"
apart 0 2 summed --set parallel.sync_every=0
losses "$work/summed" >"$work/got"
losses "$work/two" >"$work/want"
is_within "$work/got" "$work/want" 1e-5 && fail "gradients that are added up in every step gave the same losses"

# refused PATTERN [ARGUMENT...]
refused() {
    pattern=$1
    shift
    apart 2 2 refused "$@"
    expect_output "$pattern"
}
refused "'parallel.sync_every' is 3, and 'parallel.replicas' is auto" --set parallel.replicas=auto
refused "'parallel.sync_every' is 3, and 'parallel.context' is not 1" --set parallel.context=2
refused "'parallel.sync_every' is 3, and 'parallel.tensor' is not 1" --set parallel.tensor=2
refused "'parallel.sync_every' is 3, and 'train.compute' is f16" --set train.compute=f16
refused "'parallel.sync_every' is 3, and 'train.spike' is not off" --set train.spike=skip
refused "'parallel.sync_every' is 3, and 'optimizer.offload' is true" --set optimizer.offload=true
refused "'parallel.sync_every' is 3, and 'valid.every_steps' is not a multiple of it" --set valid.every_steps=4
refused "'train.reproducible' is layout, and 'parallel.sync_every' is more than 0" --set train.reproducible=layout
refused "'parallel.sync_every' is 3, and 'parallel.wire' is f32" --set parallel.wire=f32
refused "'parallel.outer_momentum' is 0.8, which would have no effect: it is read only with parallel.sync_every: other than 0" --set parallel.sync_every=0 \
    --set parallel.outer_momentum=0.8
refused "train.batch_sequences is 6, which 2 ranks with train.micro_sequences 2 cannot share out evenly" --set train.batch_sequences=6
resume_from_four again two
apart 2 4 again --set parallel.replicas=4 --set train.micro_sequences=1
expect_output "was trained with parallel.sync_every and replicas: 2, and there are 4 now"
apart 2 4 again
expect_output "was trained with parallel.sync_every and ranks: 2, and there are 4 now"
apart 2 2 again --set train.micro_sequences=4
expect_output "was trained with parallel.sync_every and micro_sequences: 2, and there are 4 now"
apart 2 2 again --set parallel.sync_every=1
expect_output "parallel.sync_every 3, the run file now says 1"
# A branch from a checkpoint between two outer steps: there is no one model to validate.
apart 0 2 branch --set "checkpoint.from=$work/two@4" --set train.steps=6 --set "data.valid=$work/fiches-valid.h5" --set valid.every_steps=6
expect_output "no validation before the first step: after step 4 the replicas are apart"
grep -q '"event": "validation", "step": 6' "$work/branch/metrics.jsonl" || fail "no validation after the last step"
if grep -q '"event": "validation", "step": 4' "$work/branch/metrics.jsonl"; then fail "a validation between two outer steps"; fi
say "what it does not go with, and restarts with other replicas, ranks and sequences: refused by name"

# plan: what crosses and how often, the memory of anchor and velocity, as much as Adam's moments, and the larger checkpoints.
plan() { # FILE [ARGUMENT...]
    to=$1
    shift
    run 0 "$atelier" plan "$tiny" --ranks 2 --set "data.train=$work/fiches.h5" --set parallel.replicas=2 --set parallel.stage=0 "$@"
    cp "$log" "$to"
}
plan "$work/apart.txt" --set parallel.sync_every=3
expect_output "between replicas once in 3 steps"
plan "$work/apart.json" --set parallel.sync_every=3 --json
plan "$work/summed.json" --json
expect "memory of the optimizer" "$((2 * $(json_number optimizer "$work/summed.json")))" "$(json_number optimizer "$work/apart.json")"
expect "bytes of an outer step" "$(json_number across "$work/summed.json")" "$(json_number across "$work/apart.json")"
expect "steps between two" 3 "$(json_number across_every "$work/apart.json")"
apart_bytes=$(json_number disk_bytes "$work/apart.json") summed_bytes=$(json_number disk_bytes "$work/summed.json")
awk -v a="$apart_bytes" -v s="$summed_bytes" 'BEGIN { exit !(a > 2.0 * s && a < 2.3 * s) }' ||
    fail "checkpoints are planned to take $apart_bytes bytes, and $summed_bytes without"
# What the run refuses plan refuses in its words, and it advises neither other replicas nor a batch that is not shared out evenly.
for micro in 2 auto; do
    run 2 "$atelier" plan "$tiny" --ranks 4 --set "data.train=$work/fiches.h5" --set parallel.replicas=2 --set parallel.sync_every=3 \
        --set train.batch_sequences=6 --set train.micro_sequences=$micro
    expect_output "train.batch_sequences is 6, which 4 ranks.* cannot share out evenly"
done
run 0 "$atelier" plan "$tiny" --ranks 4 --set "data.train=$work/fiches.h5" --set parallel.replicas=2 --set parallel.sync_every=3 \
    --set train.batch_sequences=24 --set train.micro_sequences=auto
grep -Eq 'advice.*(replicas|micro_sequences=(4|5))' "$log" && fail "advice that the run would refuse, or that changes what is learnt"
micro=$(sed -n 's/^batch .*; \([0-9]*\) in one forward pass.*/\1/p' "$log")
[ $((24 % (4 * micro))) -eq 0 ] || fail "micro_sequences $micro was chosen, by which 4 ranks cannot share out 24 evenly"
say "all as expected"
