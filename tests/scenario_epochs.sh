#!/bin/sh
# scenario_epochs.sh - train.epochs: as many steps as it takes to read the data so often, the same in plan and train, on any number
# of ranks and over restarts; beside train.steps only where both mean the same.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario epochs
prepare_sample
sed '/^  steps: 10$/d' "$tiny" >"$work/epochs.yaml"
by_steps=$tiny tiny=$work/epochs.yaml

# sequences FILE - of an epoch, as the summary of the token file counts them.
sequences() {
    run 0 "$atelier" prepare "$by_steps" --set "prepare.output=$1" --set "data.train=$1" --json
    json_number sequences "$log"
}
count=$(sequences "$work/again.h5")
batch=8
for epochs in 1 0.5 2; do
    steps=$(awk -v e=$epochs -v n="$count" -v b=$batch 'BEGIN { s = e * n / b; i = int(s); print i < s ? i + 1 : i }')
    run 0 "$atelier" plan "$tiny" --set "data.train=$work/fiches.h5" --set train.epochs=$epochs --set "run.folder=$work/plan" --json
    expect "steps of $epochs epochs in plan" "$steps" "$(json_number steps "$log")"
done
say "$count sequences: 2 epochs are $steps steps of $batch"

# --- trained to the end: the tokens of two epochs, and a few of the third where the last batch is filled up ---
for ranks in 0 2; do
    train 0 $ranks "$work/run-$ranks" --set train.epochs=2
    expect_output "^train.epochs 2: $steps steps of 8 sequences; the data have $count sequences"
    expect_complete "$work/run-$ranks" "$steps"
done
state="$work/run-0/$(cat "$work/run-0/latest")/state/training.json"
printf '%b\n' "$(sed -n 's/^ *"config": "\(.*\)",$/\1/p' "$state" | sed 's/\\"/"/g')" >"$work/kept.yaml"
grep -q '^  epochs: 2$' "$work/kept.yaml" || fail "the run does not keep train.epochs"
grep -q "^  steps: $steps\$" "$work/kept.yaml" || fail "the run does not keep the steps"

# --- the same run by its steps: the same losses; control: one epoch is another schedule ---
tiny=$by_steps
train 0 0 "$work/steps" --set "train.steps=$steps"
expect "losses" "$(losses "$work/steps")" "$(losses "$work/run-0")"

# --- stopped and gone on, from the run file that was kept: the meaning stays ---
tiny=$work/epochs.yaml
train 75 0 "$work/split" --set train.epochs=2 --set train.stop_after_s=0.001
train 0 0 "$work/split" --set train.epochs=2
expect "losses after a restart" "$(losses "$work/run-0")" "$(losses "$work/split")"
run 0 "$atelier" train "$work/kept.yaml"
expect_output "is done already: all $steps steps are trained"
train 0 0 "$work/split" --set train.epochs=2.5
expect_output "train.epochs"

# --- at odds, without data, after another run ---
run 2 "$atelier" train "$by_steps" --set "data.train=$work/fiches.h5" --set train.epochs=2 --set "run.folder=$work/odds"
expect_output "train.steps is 10, and train.epochs 2 means $steps steps of 8 sequences: keep one of the two"
run 0 "$atelier" plan "$by_steps" --set "data.train=$work/fiches.h5" --set train.epochs=2 --set train.steps=null --json
expect "steps where null takes those of the file away" "$steps" "$(json_number steps "$log")"
run 2 "$atelier" plan "$tiny" --set "data.train=$work/none.h5" --set train.epochs=2 --set "run.folder=$work/odds"
expect_output "the steps that train.epochs means follow from '$work/none.h5' of data.train, which is not there yet: prepare it"
run 2 "$atelier" train "$tiny" --set "data.train=$work/fiches.h5" --set train.epochs=2 --set "run.folder=$work/odds" \
    --set "checkpoint.from=$work/run-0"
expect_output 'train.epochs does not go with checkpoint.from'
run 2 "$atelier" train "$tiny" --set "data.train=$work/fiches.h5" --set train.epochs=2 --set "run.folder=$work/odds" \
    --set schedule.warmup_steps=500
expect_output "'schedule.warmup_steps' is 500, expected less than train.steps \\($steps\\)"
run 2 "$atelier" train "$tiny" --set "data.train=$work/fiches.h5" --set train.epochs=-1 --set "run.folder=$work/odds"
expect_output "expected a number from 0 to 1e\\+06"
say "stopped, started again, refused: as the steps say"

# --- steps that read the data many times over, before they are paid for ---
run 0 "$atelier" plan "$by_steps" --set "data.train=$work/fiches.h5" --set train.steps=5000 --set "run.folder=$work/plan"
expect_output "^warning: '$work/fiches.h5' has [0-9]+ sequences, and is read [0-9.]+ times over in 5000 steps of 8 sequences; \
train.epochs in place of train.steps says how often"
run 0 "$atelier" plan "$by_steps" --set "data.train=$work/fiches.h5" --set train.steps=2 --set "run.folder=$work/plan"
! grep -q 'times over' "$log" || fail "two steps are said to read the data many times over"
run 75 "$atelier" train "$by_steps" --set "data.train=$work/fiches.h5" --set train.steps=5000 --set train.stop_after_s=1 --set "run.folder=$work/many"
expect_output "^warning: '$work/fiches.h5' has [0-9]+ sequences, and is read"
say "steps that read a file many times over are told by plan and train"
