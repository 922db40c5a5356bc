#!/bin/sh
# scenario_kill_adapter.sh - kill -9 of one rank at random moments of a run that trains an adapter, every other time while a checkpoint
# is being written, and each start on another number of ranks: the checkpoint that stands is complete, never further back than the
# last two intervals (checkpoints are written beside the training), and an adapter that a model takes; the frozen model is not
# touched.  In the end the losses are those of a run that nobody killed.
#   KILL_SEED=n   the same moments again
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario kill_adapter
prepare_sample
num_kills=6
every=3
seed=${KILL_SEED:-$(date +%s)}
killed=$work/run
say "seed $seed"
train 0 0 "$work/base" --set train.steps=1
base=$work/base/step-000001
before=$(sha256sum "$base/model.safetensors")
sed '/^model:/,/^$/d' "$tiny" >"$work/from_model.yaml"
tiny=$work/from_model.yaml # train and train_start take it
set -- --set "model.path=$base" --set adapter.method=lora --set adapter.rank=4 --set optimizer.learning_rate=5e-4 \
    --set valid.sequences=1

# random MAX - a number from 0 to MAX - 1; the same ones for the same seed.
num_drawn=0
random() {
    num_drawn=$((num_drawn + 1))
    drawn=$(awk -v seed="$seed" -v n="$num_drawn" -v max="$1" \
        'BEGIN { srand(seed + 7919 * n); rand(); print int(rand() * max) }')
}

is_saving() {
    [ -n "$(find "$killed" -maxdepth 1 -name '*.partial' -newer "$work/start" 2>/dev/null)" ]
}

kills=0 last_saved=0 num_saving=0
while [ "$kills" -lt "$num_kills" ]; do
    num_ranks=$((2 + kills % 3))
    touch "$work/start"
    sleep 0.05
    train_start $num_ranks "$killed" "$@" --set train.steps=100000 --set "checkpoint.every_steps=$every" --set checkpoint.keep=2
    until [ -n "$(rank_process $((num_ranks - 1)))" ]; do
        expect_running "its ranks were seen"
        sleep 0.02
    done
    random $num_ranks
    victim=$drawn
    process=$(rank_process "$victim")
    wait_for_step "$killed" $((last_saved + 1))
    if [ $((kills % 2)) -eq 0 ]; then
        until is_saving; do
            expect_running "its first save"
        done
        random 20
    else
        until [ -n "$(find "$killed/latest" -newer "$work/start" 2>/dev/null)" ]; do
            expect_running "its first checkpoint"
            sleep 0.02
        done
        random 400
    fi
    sleep "$(awk -v ms="$drawn" 'BEGIN { printf "%.3f", ms / 1000 }')"
    if is_saving; then
        num_saving=$((num_saving + 1))
    fi
    kill -9 "$process" 2>/dev/null || fail "rank $victim was gone before it was killed"
    train_end 20
    [ "$code" -ne 0 ] || fail "a rank was killed, and mpirun says that all is well"
    expect_no_process
    reached=$(last_step "$killed")
    saved=0
    if [ -e "$killed/latest" ]; then
        saved=$(saved_step "$killed")
        expect_complete "$killed" "$saved"
        run 0 "$atelier" eval "$killed" --data "$work/fiches-valid.h5" --sequences 1
    fi
    { [ "$saved" -ge $((reached - 2 * every)) ] && [ "$saved" -ge "$last_saved" ]; } ||
        fail "step $reached was reached, but the last checkpoint is of $saved (before: $last_saved)"
    kills=$((kills + 1))
    say "kill $kills: rank $victim of $num_ranks at step $reached; goes on from step $saved"
    last_saved=$saved
done
[ "$last_saved" -gt 0 ] || fail "no run ever came to a checkpoint"
[ "$num_saving" -gt 0 ] || say "no kill fell into a save"
expect "the frozen model" "$before" "$(sha256sum "$base/model.safetensors")"

# The last start runs to its end; the control is a run with another seed.
last=$((last_saved + 3))
train 0 2 "$killed" "$@" --set "train.steps=$last"
train 0 0 "$work/whole" "$@" --set "train.steps=$last"
train 0 0 "$work/other" "$@" --set "train.steps=$last" --set run.seed=9
for run in run whole other; do
    losses "$work/$run" >"$work/losses_$run"
done
is_within "$work/losses_run" "$work/losses_whole" 1e-5 || fail "after $num_kills kills losses differ by $worst"
difference=$worst
is_within "$work/losses_other" "$work/losses_whole" 1e-5 && fail "another seed should have other losses"
say "the losses of all $last steps are those of a run without kills, to $difference"
