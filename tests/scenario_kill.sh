#!/bin/sh
# scenario_kill.sh - kill -9 of one rank at 8 random moments, every other time while a checkpoint is being written: the
# job ends by itself within 10 s and names the rank, and the next start goes on from a complete checkpoint, never further
# back than the last two intervals: checkpoints are written beside the training, and a save waits for the one before it.  In the
# end the losses are those of a run that nobody killed.
#   KILL_SEED=n   the same moments again
#   KILL_COUNT=n  as many moments
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario kill
prepare_sample
num_kills=${KILL_COUNT:-8}
num_ranks_killed=3
every=3 # steps between two checkpoints
seed=${KILL_SEED:-$(date +%s)}
folder=$work/run
say "seed $seed"

# random MAX - a number from 0 to MAX - 1; the same ones for the same seed.
num_drawn=0
random() {
    num_drawn=$((num_drawn + 1))
    drawn=$(awk -v seed="$seed" -v n="$num_drawn" -v max="$1" \
        'BEGIN { srand(seed + 7919 * n); rand(); print int(rand() * max) }')
}

# is_saving - in this start: the folder that an earlier kill left does not count.
is_saving() {
    [ -n "$(find "$folder" -maxdepth 1 -name '*.partial' -newer "$work/start" 2>/dev/null)" ]
}

# wait_random_moment - up to 2.5 s from now, or anywhere in the first save, or up to 0.5 s after it: on a machine so busy that
# the ranks take longer than that to start, the run comes further all the same.
wait_random_moment() {
    if [ $((kills % 4)) -eq 2 ]; then
        until [ -n "$(find "$folder/latest" -newer "$work/start" 2>/dev/null)" ]; do
            expect_running "its first checkpoint"
            sleep 0.02
        done
        random 500
    elif [ $((kills % 2)) -eq 0 ]; then
        random 2500
    else
        until is_saving; do
            expect_running "its first save"
        done
        random 30
    fi
    sleep "$(awk -v ms="$drawn" 'BEGIN { printf "%.3f", ms / 1000 }')"
}

# expect_way_back - the checkpoint that stands is complete; the one after it may have been under way until the next was due.
expect_way_back() {
    reached=$(last_step "$folder")
    saved=0
    if [ -e "$folder/latest" ]; then
        saved=$(saved_step "$folder")
        expect_complete "$folder" "$saved"
    fi
    [ "$saved" -ge $((reached - 2 * every)) ] || fail "step $reached was reached, but the last checkpoint is of $saved"
}

kills=0 num_saving=0 last_saved=0
while [ "$kills" -lt "$num_kills" ]; do
    touch "$work/start"
    train_start $num_ranks_killed "$folder" --set train.steps=100000 --set "checkpoint.every_steps=$every" \
        --set checkpoint.keep=3 --set valid.sequences=1
    random $num_ranks_killed
    victim=$drawn
    until [ -n "$(rank_process $((num_ranks_killed - 1)))" ]; do
        expect_running "its ranks were seen"
        sleep 0.02
    done
    process=$(rank_process "$victim") # looked up now: a save is over by the time that this takes
    wait_random_moment
    if is_saving; then
        num_saving=$((num_saving + 1))
    fi
    kill -9 "$process" 2>/dev/null || fail "rank $victim was gone before it was killed"
    killed_at=$(date +%s)
    train_end 10
    [ "$code" -ne 0 ] || fail "a rank was killed, and mpirun says that all is well"
    expect_killed "$victim"
    expect_no_process
    if [ "$last_saved" -gt 0 ]; then
        # Where the kill came before the load, there is no such line.
        came_from=$(sed -n "s/^resumed from .* after step \([0-9]*\)\$/\1/p" "$log")
        expect "step that start $kills resumed from" "$last_saved" "${came_from:-$last_saved}"
    fi
    expect_way_back
    kills=$((kills + 1))
    say "kill $kills: rank $victim, ended within $(($(date +%s) - killed_at)) s at step $reached; goes on from step $saved"
    [ "$saved" -ge "$last_saved" ] || fail "the checkpoint of step $last_saved is lost"
    last_saved=$saved
done
say "$num_saving of $num_kills kills fell into a save"
[ "$num_saving" -gt 0 ] || fail "no kill fell into a save"
[ "$last_saved" -gt 0 ] || fail "no run ever came to a checkpoint"

# The last start runs to its end; then every loss is compared with those of a run on as many ranks, never killed.
last=$((last_saved + 3))
train 0 $num_ranks_killed "$folder" --set "train.steps=$last"
train 0 $num_ranks_killed "$work/whole" --set "train.steps=$last"
expect "losses of $last steps with $num_kills kills" "$(losses "$work/whole")" "$(losses "$folder")"
say "the losses of all $last steps are those of a run without kills"
leftovers=$(ls -d "$folder"/*.partial "$folder"/*.deleting "$folder"/*.replaced 2>/dev/null)
expect "unfinished folders after a good end" "" "$leftovers"
