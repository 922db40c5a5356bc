#!/bin/sh
# scenario_spike.sh - train.spike: a batch whose loss is a spike is left out, in its place or after going back to the last
# checkpoint, and the run is that of data which lack it: bit by bit, as all other documents are the same one.  Over
# restarts and on another number of ranks; the limit ends the run as diverged.  Controls: without the guard the curve is
# another one; without a spike the guard changes nothing.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario spike
prepare_sample

# A document of one sequence, many times, and one of other letters among them: 31 batches of two, of which the 29th has it.
same='{"text": "Pour obtenir un passeport, il faut prendre rendez-vous en mairie et se munir des pièces demandées par le service. La demande se fait ensuite au guichet, à la date choisie."}'
other='{"text": "zqxj kvwq 8071 jjxz qqkw 5593 wvxz kzqj 2417 xqzk vjwq 9938 zzqx kjvw"}'
yes "$same" | head -n 60 >"$work/lacks.jsonl"
{
    yes "$same" | head -n 61
    printf '%s\n' "$other"
} >"$work/has.jsonl"
for name in has lacks; do
    run 0 "$atelier" prepare "$tiny" --set "prepare.output=$work/$name.h5" --set "prepare.sources=[{path: $work/$name.jsonl, name: $name, licence: Apache-2.0}]" \
        --set prepare.deduplicate=false --set prepare.valid_every=0
done

# guarded WANTED_CODE RANKS FOLDER DATA [ARGUMENT...]
guarded() {
    wanted_code=$1 ranks=$2 folder=$3 data=$4
    shift 4
    train "$wanted_code" "$ranks" "$folder" --set "data.train=$work/$data.h5" --set data.valid=null --set data.packing=whole \
        --set train.batch_sequences=2 --set train.micro_sequences=1 --set train.steps=30 --set optimizer.learning_rate=3e-3 --set run.seed=10 --set checkpoint.every_steps=5 "$@"
}

# spiky POLICY WANTED_CODE RANKS FOLDER DATA [ARGUMENT...] - with the guard.
spiky() {
    policy=$1 wanted_code=$2 ranks=$3 folder=$4 data=$5
    shift 5
    guarded "$wanted_code" "$ranks" "$folder" "$data" --set "train.spike=$policy" --set train.spike_window=16 --set train.spike_sigma=8 "$@"
}

# learnt FOLDER - the losses of the steps that made an update, in their order.
learnt() {
    grep -v '"skipped"' "$1/metrics.jsonl" >"$work/learnt.jsonl"
    sed -n 's/^{"step": [0-9]*, "loss": \([^,]*\),.*/\1/p' "$work/learnt.jsonl"
}

# --- what it is compared with: data that lack the document; and without the guard it is seen ---
guarded 0 0 "$work/lacks" lacks
losses "$work/lacks" >"$work/lacks.losses"
learnt "$work/lacks" >"$work/lacks.learnt"
guarded 0 0 "$work/off" has --set train.steps=31
[ "$(learnt "$work/off" | sed -n '29p' | cut -c1)" != "$(sed -n '29p' "$work/lacks.learnt" | cut -c1)" ] ||
    fail "the document should be seen in step 29"
expect "losses before it" "$(head -n 28 "$work/lacks.learnt")" "$(learnt "$work/off" | head -n 28)"
[ "$(learnt "$work/off" | tail -n 1)" != "$(tail -n 1 "$work/lacks.learnt")" ] || fail "without the guard it should leave a trace"

# --- a guard that meets no spike changes nothing ---
spiky skip 0 0 "$work/quiet" lacks
expect "losses with a guard and no spike" "$(cat "$work/lacks.losses")" "$(losses "$work/quiet")"

# --- skip: the step has no update, and the curve over the updates is that of data without the batch ---
for ranks in 0 2; do
    spiky skip 0 $ranks "$work/skip-$ranks" has --set train.steps=31
    expect_output '^step 29: the gradient norm is [0-9.]+, and the mean of 16 steps before it .*: a spike; batch 28 is left out .1 of at most 10., no update; it held .*has.h5 document 61'
    expect_output '^spikes +1, their batches left out; the run went back 0 times$'
    grep -q '^{"step": 29, .*"update": 28, "skipped": "spike"' "$work/skip-$ranks/metrics.jsonl" || fail "metrics.jsonl should say it"
    learnt "$work/skip-$ranks" | cat -n >"$work/a" && cat -n "$work/lacks.learnt" >"$work/b"
    is_within "$work/a" "$work/b" 1e-5 || fail "skip on $ranks ranks: the losses should be those of data without the batch"
done
expect "losses of the updates" "$(cat "$work/lacks.learnt")" "$(learnt "$work/skip-0")"
state=$work/skip-0/step-000031/state/training.json
expect "left out" '28 29 "skip"' "$(sed -n '/"left_out"/,/\]/s/.*"\(batch\|step\|by\)": \([^,]*\),*$/\2/p' "$state" | tr '\n' ' ' | sed 's/ $//')"
run 0 "$atelier" inspect "$work/skip-0" --document 61
expect_output '29 .*no update: train.spike'
run 0 "$atelier" inspect "$work/skip-0" --step 29 --json
expect_output '"left_out": "no update: train.spike"'
say "skip: bit by bit the losses of data without the batch; without the guard they are others"

# --- rollback: the same, step by step, as the batches after it come one step earlier ---
for ranks in 0 2; do
    spiky rollback 0 $ranks "$work/back-$ranks" has
    expect_output '^step 29: .*a spike; batch 28 is left out .*, the run goes back to step 25; it held'
    expect_output '^spikes +1, their batches left out; the run went back 1 time$'
    losses "$work/back-$ranks" >"$work/back.losses"
    is_within "$work/back.losses" "$work/lacks.losses" 1e-5 || fail "rollback on $ranks ranks: the losses should be those of data without the batch"
    expect_complete "$work/back-$ranks" 30
done
expect "losses" "$(cat "$work/lacks.losses")" "$(losses "$work/back-0")"
cmp -s "$work/back-0/step-000030/state/master.safetensors" "$work/lacks/step-000030/state/master.safetensors" ||
    fail "the weights should be those of data without the batch"
grep -q '"event": "start", "after_step": 25, "steps": 30, "rollback_from": 29' "$work/back-0/metrics.jsonl" || fail "metrics.jsonl should say that it went back"
expect "parent of the checkpoint after it" 25 "$(sed -n '/"parent"/,/}/s/.*"step": \([0-9]*\).*/\1/p' "$work/back-0/step-000030/manifest.json" | head -n 1)"
grep -q '"by": "rollback"' "$work/back-0/step-000030/provenance.json" || fail "the provenance should have the batch"
grep -q '^| Batches left out: their loss or gradient norm was a spike | 1 |' "$work/back-0/step-000030/README.md" || fail "the card should tell of it"
run 0 "$atelier" report "$work/skip-0"
grep -q 'Steps left out because the loss or the gradient norm was a spike' "$work/skip-0/report.html" || fail "the report should count it"
run 0 "$atelier" inspect "$work/back-0" --document 61 --json
expect_output '"seen": \[\]'
run 0 "$atelier" inspect "$work/back-0" --step 29 --json
if grep -q '"document": 61,' "$log"; then fail "step 29 read the batch after the one that was left out"; fi
run 0 "$atelier" inspect "$work/back-0" --verify
say "rollback: losses and weights are those of data without the batch, a child of step 25"

# --- whatever a checkpoint's state holds: momenta, moments in bf16, the scale of the loss, an adapter, shards ---
# expect_same NAME - of the two runs of that name.
expect_same() {
    grep -q ' the run goes back to step 25' "$log" || fail "$1: there should be a spike"
    expect "losses, $1" "$(losses "$work/lacks-$1")" "$(losses "$work/has-$1")"
    cmp -s "$work/has-$1/step-000030/state/master.safetensors" "$work/lacks-$1/step-000030/state/master.safetensors" ||
        fail "$1: the weights should be those of data without the batch"
}
# same_as_lacking NAME RANKS [ARGUMENT...]
same_as_lacking() {
    name=$1 num=$2
    shift 2
    guarded 0 "$num" "$work/lacks-$name" lacks "$@"
    spiky rollback 0 "$num" "$work/has-$name" has --set train.spike_sigma=6 "$@"
    expect_same "$name"
}
guarded 0 0 "$work/lacks-muon" lacks --set optimizer.kind=muon --set optimizer.learning_rate=1e-3
spiky rollback 0 0 "$work/has-muon" has --set optimizer.kind=muon --set optimizer.learning_rate=1e-3 --set train.spike_window=4 --set train.spike_sigma=5
expect_same muon
same_as_lacking moments 0 --set optimizer.state_dtype=bf16
same_as_lacking f16 0 --set train.compute=f16
for stage in 0 2; do
    same_as_lacking "stage-$stage" 2 --set parallel.stage=$stage
done
plain=$tiny
adapt "$work/lacks/step-000005"
same_as_lacking adapter 0
tiny=$plain
say "the same with muon, bf16 moments, f16, an adapter, and at stages 0 and 2 (3 is above)"

# --- a checkpoint that was saved when the run had diverged already is passed over.  At a rate of 3 the update of step 7 ruins the
# weights: that of step 7 is not marked, for the loss of step 8 shows it; that of step 6 is the newest sound one ---
# sick CODE RANKS FOLDER [ARGUMENT...] - every step saved and kept; at two deviations the losses of a run that has diverged are spikes.
sick() {
    wanted_code=$1 ranks=$2 folder=$3
    shift 3
    train "$wanted_code" "$ranks" "$folder" --set data.valid=null --set checkpoint.every_steps=1 --set checkpoint.keep=0 "$@"
}
spikes='--set train.spike=rollback --set train.spike_window=4 --set train.spike_sigma=2 --set train.spike_limit=1000'
sick 0 0 "$work/sick" --set train.steps=6
sick 1 0 "$work/sick" --set train.steps=12 --set optimizer.learning_rate=3
# What it should go on as: from step 6, by hand.
cp -r "$work/sick" "$work/well"
echo step-000006 >"$work/well/latest"
sick 0 0 "$work/well" --set train.steps=8
losses "$work/well" | tail -n 2 >"$work/well.losses"
for ranks in 0 2; do
    cp -r "$work/sick" "$work/sick-$ranks"
    # shellcheck disable=SC2086 # words
    sick 0 $ranks "$work/sick-$ranks" --set train.steps=20 --set checkpoint.every_steps=4 $spikes
    grep 'the run goes back to step' "$log" | head -n 1 >"$work/first"
    grep -Eq 'the run goes back to step 6, as the checkpoint of step (12|16) is marked suspect: the loss is .*out of bounds .* since step 8; it held' "$work/first" ||
        fail "it should go back to step 6, past the checkpoints of steps 7 to 12: $(cat "$work/first")"
    losses "$work/sick-$ranks" | sed -n '/^[78] /p' >"$work/sick.losses"
    is_within "$work/sick.losses" "$work/well.losses" 1e-5 || fail "the losses should be those of a run that goes on from step 6"
    [ "$ranks" -gt 0 ] || expect "losses" "$(cat "$work/well.losses")" "$(cat "$work/sick.losses")"
    expect "parent of the checkpoint after it" 6 "$(sed -n '/"parent"/,/}/s/.*"step": \([0-9]*\).*/\1/p' "$work/sick-$ranks/step-000008/manifest.json" | head -n 1)"
done
say "a rollback passes over checkpoints that were saved when the losses were out of bounds, and that of the step before"
# Without one that is sound it ends: that of step 7 carries no mark and is not taken either.
rm -rf "$work"/sick/step-00000[1-6]
# shellcheck disable=SC2086 # words
sick 1 2 "$work/sick" --set train.steps=20 $spikes
expect_output '^error: step 1[0-9]: .*: a spike, and no checkpoint to go back to is sound: the checkpoint of step 1[0-9] is marked suspect: .*; start anew with a lower optimizer.learning_rate'
expect_output '^outcome +diverged: a spike, and no checkpoint to go back to is sound'
# A branch that saved nothing sound goes back to where it began, in the folder of another run.
sick 1 0 "$work/branch" --set "checkpoint.from=$work/well/step-000006" --set train.steps=12 --set optimizer.learning_rate=3 \
    --set train.spike=rollback --set train.spike_window=4 --set train.spike_sigma=1.5 --set train.spike_limit=1
expect_output 'the run goes back to step 6'

# --- before the first checkpoint there is nothing to go back to ---
spiky rollback 0 0 "$work/none" has --set checkpoint.every_steps=0 --set train.steps=31
expect_output '^step 29: .*no update, as there is no checkpoint yet to go back to'
expect "losses" "$(cat "$work/lacks.learnt")" "$(learnt "$work/none")"

# --- what is left out stays so, without the guard, on another number of ranks.  The documents are all different here, and at two
# deviations some are spikes: with the batches after them in other steps the losses would be others, as without the guard ---
low='--set optimizer.learning_rate=5e-4'
narrow='--set train.spike_sigma=2 --set train.spike_window=8'
# shellcheck disable=SC2086 # words
{
    spiky rollback 0 0 "$work/whole" fiches $low $narrow
    last=$(sed -n 's/^step \([0-9]*\): .* the run goes back to step .*/\1/p' "$log" | tail -n 1)
    times=$(grep -c ' the run goes back to step ' "$log")
    if [ "${last:-30}" -ge 28 ] || [ "$times" -lt 2 ]; then
        fail "there should be several spikes, before step 28"
    fi
    spiky rollback 0 0 "$work/split" fiches $low $narrow --set "train.steps=$((last + 2))"
    guarded 0 2 "$work/split" fiches $low
    guarded 0 0 "$work/unguarded" fiches $low
}
losses "$work/whole" >"$work/whole.losses" && losses "$work/split" >"$work/split.losses"
is_within "$work/split.losses" "$work/whole.losses" 1e-5 || fail "what is left out should stay so after a restart"
expect "batches left out" "$times" "$(grep -c '"by": "rollback"' "$work/split/step-000030/state/training.json")"
losses "$work/unguarded" >"$work/unguarded.losses"
if is_within "$work/unguarded.losses" "$work/whole.losses" 1e-3; then
    fail "the batches after a rollback should be others than without one"
fi
say "$times batches left out over a restart, without the guard and on another number of ranks"

# --- the limit: the document comes again in the second epoch ---
spiky skip 1 0 "$work/limit" has --set train.steps=62 --set train.spike_limit=1
expect_output '^error: step [0-9]+: .*: a spike, and 1 batch is left out already .train.spike_limit.; no update was made'
expect_output '^outcome +diverged: more spikes than train.spike_limit .1.'
train 1 2 "$work/nan" --set optimizer.learning_rate=100 --set train.compute=f16 --set train.spike=skip --set train.spike_limit=2 --set data.valid=null
expect_output '^step 2: the loss is not finite: a spike'
expect_output '^outcome +diverged: more spikes than train.spike_limit .2.'

# --- refused ---
guarded 2 0 "$work/refused" has --set train.spike_sigma=4
expect_output "'train.spike_sigma' is 4, which would have no effect: it is read only with train.spike: skip or rollback"
say "more than train.spike_limit, and what is never a number: diverged, code 1"
