#!/bin/sh
# scenario_diverged.sh - a run that goes wrong is not "done": said while it happens, code 1 and "diverged" at the end, in the
# summary, in metrics.jsonl and by status.  Its checkpoints are marked suspect, and the last good one is kept beside those
# that checkpoint.keep asks for.  Controls: a new model that begins at the logarithm of the vocabulary, a run that comes back.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario diverged
prepare_sample

checkpoints() {
    (cd "$1" && echo step-*)
}

# longer CODE RANKS FOLDER [ARGUMENT...] - six good steps to twelve, every one of them saved.
longer() {
    wanted_code=$1 ranks=$2 folder=$3
    shift 3
    train "$wanted_code" "$ranks" "$folder" --set train.steps=12 --set checkpoint.every_steps=1 --set data.valid=null "$@"
}

# --- diverged: alone and on two ranks, with one and with two checkpoints to keep.  At a rate of 3 the update of step 7 ruins
# the weights, which the loss of step 8 shows: the checkpoint of step 6 is the last good one ---
for case in 0:1 0:2 2:1; do
    ranks=${case%:*} keep=${case#*:}
    folder=$work/run-$ranks-$keep
    train 0 "$ranks" "$folder" --set train.steps=6 --set checkpoint.every_steps=1 --set data.valid=null \
        --set "checkpoint.keep=$keep"
    longer 1 "$ranks" "$folder" --set optimizer.learning_rate=3 --set "checkpoint.keep=$keep"
    expect_output '^warning: step 10: the run diverges: the loss is .*out of bounds .8\.8.* since step 8; .*a checkpoint of step 6 or before'
    expect "warnings" 1 "$(grep -c 'the run diverges' "$log")"
    expect_output '^outcome +diverged: the loss is [0-9.]+, out of bounds'
    grep -q 'the run diverges' "$folder/log.txt" || fail "log.txt should tell when it began"
    expect "steps told as diverged" 3 "$(grep -c '"diverged_since": 8' "$folder/metrics.jsonl")"
    case $keep in
    1) wanted="step-000006 step-000012" ;;
    *) wanted="step-000006 step-000011 step-000012" ;;
    esac
    expect "checkpoints kept, $keep asked for" "$wanted" "$(checkpoints "$folder")"
    run 0 "$atelier" inspect "$folder/step-000012" --verify
    expect_output '^ *suspect +the loss is'
    grep -q '^\*\*The training failed: its loss is out of bounds since step 8\.\*\*$' "$folder/step-000012/README.md" ||
        fail "the model card should say that the run has diverged"
    run 0 "$atelier" inspect "$folder/step-000006" --verify
    if grep -q suspect "$log"; then
        fail "the good checkpoint is called suspect"
    fi
    run 0 "$atelier" status "$folder"
    expect_output '^state +diverged$'
    expect_output '^diverged +since step 8'
    expect_output '^checkpoint +step-000012, suspect: the loss is'
done
say "a diverged run: code 1, said while it happens, the checkpoints marked, the last good one kept"

# --- started again it stays what it is; from the good checkpoint, with a lower rate, it gets well ---
longer 1 0 "$work/run-0-1" --set optimizer.learning_rate=3 --set checkpoint.keep=1
expect_output "did not end well: all 12 steps are trained, but .*step-000012. is marked suspect: the loss is"
echo step-000006 >"$work/run-0-1/latest"
longer 0 0 "$work/run-0-1" --set checkpoint.keep=1
expect_output '^outcome +done'

# --- controls ---
train 0 0 "$work/new" --set optimizer.learning_rate=1e-6 --set checkpoint.every_steps=1 --set checkpoint.keep=1
expect_output '^outcome +done'
expect "checkpoints of a run that goes well, 1 asked for" step-000010 "$(checkpoints "$work/new")"
if grep -Eq 'run diverges|had diverged|bounds' "$log" || grep -q diverged_since "$work/new/metrics.jsonl"; then
    fail "a new model was called diverged"
fi
train 0 0 "$work/back" --set optimizer.learning_rate=0.1 --set train.steps=30 --set checkpoint.every_steps=0
expect_output 'the run diverges'
expect_output 'the loss is within bounds again'
expect_output '^outcome +done'
# It is done, and what happened on the way is not in the log alone.
past='from step [0-9]+ to step [0-9]+, and came back'
expect_output "^had diverged  $past"
grep -Eq '^\*\*The training had diverged and came back: its loss was out of bounds from step [0-9]+ to step [0-9]+\.\*\*$' \
    "$work/back/step-000030/README.md" || fail "the model card should say that the run had diverged"
run 0 "$atelier" status "$work/back"
expect_output '^state +done$'
expect_output "^had diverged $past"
run 0 "$atelier" status "$work/back" --json
expect_output '"times": 1'
train 0 0 "$work/back" --set optimizer.learning_rate=1e-3 --set train.steps=31 --set checkpoint.every_steps=0 # kept over a start
expect_output "^had diverged  $past"
say "a new model is not called diverged, and a run that comes back is done"
