#!/bin/sh
# scenario_signal.sh - SIGUSR1, SIGTERM and SIGHUP: all ranks stop at the same step, save and end with code 75; the same command
# again goes on and ends with the losses of a run that was never interrupted.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario signal
prepare_sample
steps="train.steps=24"
cosine="schedule.kind=cosine"
longest_s=30 # from the signal to the end

for ranks in 0 2; do
    train 0 "$ranks" "$work/whole-$ranks" --set $steps --set $cosine
    losses "$work/whole-$ranks" >"$work/whole-$ranks.losses"
done

# start_until RANKS FOLDER STEP [ARGUMENT...] - a run in the background that has done so many steps.
start_until() {
    ranks=$1 folder=$2 step=$3
    shift 3
    train_start "$ranks" "$folder" --set $steps --set $cosine "$@"
    wait_for_step "$folder" "$step"
}

# expect_stop FOLDER - the run ended with code 75, together, after a checkpoint; going on gives the same losses.
expect_stop() {
    train_end "$longest_s"
    expect "exit code after the signal" 75 "$code"
    expect_no_process
    expect_output 'stopped after a checkpoint; start it again'
    stopped_at=$(last_step "$1")
    [ "$stopped_at" -lt 24 ] || fail "the run did not stop before its last step"
    expect_complete "$1" "$stopped_at"
    train 0 "$ranks" "$1" --set $steps --set $cosine
    expect_output "after step $stopped_at\$"
    expect "losses with a stop at step $stopped_at on $ranks ranks" "$(cat "$work/whole-$ranks.losses")" "$(losses "$1")"
}

for signal in USR1 TERM HUP; do
    start_until 0 "$work/alone-$signal" 3
    kill -s "$signal" "$started"
    expect_stop "$work/alone-$signal"
    say "SIG$signal to a run started alone: stopped at step $stopped_at, code 75, went on as if nothing had happened"
done

# A terminal that is closed hangs up; under nohup that is not meant for the run.  Nor is a reader that leaves: its output is a copy.
(trap '' HUP && exec "$atelier" train "$tiny" --set "run.folder=$work/nohup" --set "data.train=$work/fiches.h5" \
    --set "data.valid=$work/fiches-valid.h5" --set $steps --set $cosine) >"$log" 2>&1 &
started=$!
wait_for_step "$work/nohup" 3
kill -s HUP "$started"
train_end "$longest_s"
expect "exit code of a run that ignores SIGHUP" 0 "$code"
expect "its losses" "$(cat "$work/whole-0.losses")" "$(losses "$work/nohup")"
{
    "$atelier" train "$tiny" --set "run.folder=$work/piped" --set "data.train=$work/fiches.h5" \
        --set "data.valid=$work/fiches-valid.h5" --set $steps --set $cosine
    echo $? >"$work/piped.code"
} 2>&1 | head -n 3 >"$log"
until [ -s "$work/piped.code" ]; do sleep 0.1; done
expect "exit code with nobody to read the output" 0 "$(cat "$work/piped.code")"
expect "losses with nobody to read the output" "$(cat "$work/whole-0.losses")" "$(losses "$work/piped")"
expect_complete "$work/piped" 24
expect "end of the summary without a reader" "$(tail -n 1 "$work/nohup/summary.txt" | cut -c 1-9)" \
    "$(tail -n 1 "$work/piped/summary.txt" | cut -c 1-9)"
say "SIGHUP that is ignored, and output that nobody reads: trained to the end"

start_until 2 "$work/mpirun-USR1" 3
kill -s USR1 "$started"
expect_stop "$work/mpirun-USR1"
say "SIGUSR1 to mpirun on 2 ranks: stopped at step $stopped_at, code 75"

# mpirun takes SIGTERM as its own end.  That of Open MPI 4 waits odls_base_sigkill_timeout seconds (1, were it not set here),
# passes the signal on, waits as long again, kills the ranks: they save in that time.  That of Open MPI 5 kills them a quarter
# of a second after it, whatever is set: nothing but what was saved before is left.  Its code is its own.
folder=$work/mpirun-TERM
export OMPI_MCA_odls_base_sigkill_timeout=3
train_start 2 "$folder" --set train.steps=100000 --set checkpoint.every_steps=2
unset OMPI_MCA_odls_base_sigkill_timeout
wait_for_step "$folder" 5
kill -s TERM "$started"
train_end "$longest_s"
[ "$code" -ne 0 ] || fail "SIGTERM to mpirun: expected an exit code other than 0"
expect_no_process
mpirun_code=$code
reached=$(last_step "$folder")
if [ "$(open_mpi_version)" = 4 ]; then
    expect_output 'stopped after a checkpoint; start it again'
    stopped_at=$reached
else
    stopped_at=$(saved_step "$folder")
    [ "$stopped_at" -ge $((reached - 3)) ] || fail "step $reached was reached, but the last checkpoint is of $stopped_at"
fi
expect_complete "$folder" "$stopped_at"
train 0 2 "$folder" --set "train.steps=$((stopped_at + 2))"
expect_output "after step $stopped_at\$"
train 0 2 "$work/straight" --set "train.steps=$((stopped_at + 2))"
expect "losses with a stop at step $stopped_at" "$(losses "$work/straight")" "$(losses "$folder")"
say "SIGTERM to mpirun on 2 ranks: goes on after step $stopped_at, mpirun's own code $mpirun_code"

start_until 2 "$work/one-rank" 3
kill -s TERM "$(rank_process 1)"
expect_stop "$work/one-rank"
say "SIGTERM to one of 2 ranks: both stopped at step $stopped_at, code 75"

start_until 2 "$work/twice" 3
kill -s USR1 "$started"
kill -s USR1 "$started"
expect_stop "$work/twice"
say "two SIGUSR1 in a row: one stop, at step $stopped_at"

start_until 2 "$work/saving" 3 --set checkpoint.every_steps=1
until ls -d "$work/saving"/*.partial >/dev/null 2>&1; do
    expect_running "its first save"
done
kill -s USR1 "$started"
expect_stop "$work/saving"
say "SIGUSR1 during a save: stopped at step $stopped_at"

# In a validation: it is cut short, as it may be longer than what is left to save.  Here it takes most of the time; a signal
# that comes in a step all the same is tried again.
for ranks in 0 2; do
    for attempt in 1 2 3 4 5; do
        folder=$work/validating-$ranks-$attempt
        train_start "$ranks" "$folder" --set $steps --set $cosine --set "data.valid=$work/fiches.h5" --set valid.sequences=0 \
            --set valid.every_steps=1
        wait_for_step "$folder" 2
        kill -s USR1 "$started"
        expect_stop "$folder"
        if grep -q 'the validation is cut short, because of a signal' "$folder/log.txt"; then
            break
        fi
    done
    grep -q "step $stopped_at: the validation is cut short, because of a signal" "$folder/log.txt" ||
        fail "no validation was cut short in five attempts"
    say "SIGUSR1 in a validation (ranks: $ranks): cut short, stopped at step $stopped_at, went on as if nothing had happened"
done

# Before the first step, while the ranks start: nothing was done, and the same command does it all.  The first line of the
# program blocks the signal; the rank sends it to itself as MPI starts, so no luck with time is needed.
if ${CC:-mpicc} -shared -fPIC -O1 -o "$work/stop_rank.so" tests/scenario/stop_rank.c -ldl >"$log" 2>&1; then
    run 75 env LD_PRELOAD="$PWD/$work/stop_rank.so" STOP_RANK=0 STOP_AT=init STOP_SIGNAL=USR1 "$atelier" \
        train "$tiny" --set "run.folder=$work/early" --set "data.train=$work/fiches.h5" --set $steps --set $cosine
    expect_output 'stopped by a signal before its first step; start it again'
    expect "steps before the first" 0 "$(last_step "$work/early")"
    [ ! -e "$work/early/latest" ] || fail "a checkpoint was written before the first step"
    run 0 "$atelier" status "$work/early"
    expect_output '^state +not running$'
    expect_output '^step +none: the last start ended before its first step, [0-9.]+ s ago$'
    train 0 0 "$work/early" --set $steps --set $cosine
    expect "losses after a stop before the first step" "$(cat "$work/whole-0.losses")" "$(losses "$work/early")"
    say "SIGUSR1 during the start: code 75, nothing done, went on as if nothing had happened"
fi

# Control: without a signal the run does not stop early, and another seed's losses are not taken for the same.
train 0 0 "$work/other" --set $steps --set $cosine --set run.seed=8
[ "$(losses "$work/other")" != "$(cat "$work/whole-0.losses")" ] || fail "another seed gives the same losses"
expect "steps of a run without a signal" 24 "$(last_step "$work/other")"
