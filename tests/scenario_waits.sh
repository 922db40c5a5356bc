#!/bin/sh
# scenario_waits.sh - a rank that stops (SIGSTOP) at any place, from before its first line to the end of MPI: the others
# say after 10 s for whom they wait, and end at the limit of what the run is doing, naming rank, process, step, phase and
# the key that sets the limit.  The rank stops itself by a preloaded library, so nothing depends on being quick.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario waits
${CC:-mpicc} -shared -fPIC -O1 -o "$work/stop_rank.so" tests/scenario/stop_rank.c -ldl >"$log" 2>&1 ||
    skip "no compiler for the library that stops a rank"
prepare_sample
ranks=3
start_s=300 save_s=300 step_s=300 slack_s=300 # limits, until it is known how slow this machine is just now

# stop_at NAME RANK PLACE [ARGUMENT...] - the tiny run of three ranks in $work/NAME, of which one stops there; its output
# goes to NAME.log, its code to NAME.code, the seconds that it took to NAME.took.
stop_at() {
    name=$1 rank=$2 place=$3
    shift 3
    began=$(date +%s)
    code=0
    timeout -k 5 400 mpirun -n $ranks -x LD_PRELOAD="$PWD/$work/stop_rank.so" -x STOP_RANK="$rank" \
        -x STOP_AT="$place" "$atelier" train "$tiny" --set "run.folder=$work/$name" --set "data.train=$work/fiches.h5" \
        --set train.steps=4 --set run.timeout_s=$step_s --set run.start_timeout_s=$start_s \
        --set checkpoint.timeout_s=$save_s "$@" >"$work/$name.log" 2>&1 || code=$?
    echo $code >"$work/$name.code"
    echo $(($(date +%s) - began)) >"$work/$name.took"
}

# expect_named NAME RANK LIMIT PHASE KEY - it ended in time with one line that says so.
expect_named() {
    log=$work/$1.log
    expect "exit code of '$1'" 1 "$(cat "$work/$1.code")"
    expect_output "^\[rank [0-9]/3 [^]]*\] fatal: waited [0-9.]+ s for rank $2 \([^)]*(stopped|not started)\) in '[^']+', while $4: .* raise $5"
    expect "ranks named by '$1'" "rank $2" "$(sed -n 's/.*fatal: waited .* for \(rank [0-9]\).*/\1/p' "$log" | sort -u)"
    [ "$(cat "$work/$1.took")" -le $(($3 + slack_s)) ] || fail "'$1' took $(cat "$work/$1.took") s, its limit is $3 s"
}

# Control: undisturbed, with the same limits, the library and the file that the next runs go on from.
stop_at whole 9 start
log=$work/whole.log
expect "exit code of an undisturbed run" 0 "$(cat "$work/whole.code")"
for line in fatal: waiting; do
    if grep -q "$line" "$log"; then fail "an undisturbed run says '$line'"; fi
done
cp -r "$work/whole" "$work/verify"
once_s=$(cat "$work/whole.took") # the runs below share the cores, up to four at a time
start_s=$((6 + 4 * once_s)) save_s=$((4 + 2 * once_s)) step_s=$((3 + 2 * once_s)) slack_s=$((12 + 6 * once_s))
words_s=$((13 + 2 * once_s))

stop_at before 0 start &
stop_at init 2 init &
stop_at initialised 1 initialised &
wait
expect_named before 0 $start_s starting run.start_timeout_s
expect_named init 2 $start_s starting run.start_timeout_s
expect_named initialised 1 $start_s starting run.start_timeout_s
say "a rank stopped before or in MPI_Init is named, and the others end"

stop_at load 1 open:fiches.h5 &
stop_at verify 2 open:step-000004/model.safetensors --set train.steps=6 &
stop_at save 0 open:.partial &
stop_at finalize 1 finalize &
wait
expect_named load 1 $start_s starting run.start_timeout_s
expect_named verify 2 $start_s starting run.start_timeout_s
expect_named save 0 $save_s saving checkpoint.timeout_s
expect_output "rank [0-9]/3 .* step 4\]"
expect_named finalize 1 $step_s ending run.timeout_s
say "a rank stopped while it loads, verifies, saves or ends is named, and the others end"

# In the middle of the steps; and words after 10 s, once, where the limit is longer.
slow() {
    stop_at words 2 open:.partial --set checkpoint.timeout_s=$words_s
}
slow &
# rank_of_step RANK - its process in the run that is stopped in a step: the other run has ranks of the same numbers.
rank_of_step() {
    for pid in $(own_processes); do
        if tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qx "run.folder=$work/step" &&
            tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qx "OMPI_COMM_WORLD_RANK=$1"; then
            echo "$pid"
            return
        fi
    done
}
log=$work/step.log
train_start 2 "$work/step" --set train.steps=100000 --set checkpoint.every_steps=0 --set run.timeout_s=$step_s \
    --set run.start_timeout_s=300
wait_for_step "$work/step" 20
process=$(rank_of_step 1)
[ -n "$process" ] || fail "rank 1 of the run is not found"
kill -s STOP "$process"
train_end $((step_s + slack_s))
wait
expect "exit code with a rank stopped in a step" 1 "$code"
expect_output "^\[rank 0/2 .* step [0-9]+\] fatal: waited [0-9.]+ s for rank 1 \([^)]*process $process, stopped\) in '[a-z -]+', while training: .* raise run.timeout_s"
expect_named words 2 $words_s saving checkpoint.timeout_s
expect "lines that say for whom" 1 "$(grep -c "warning: waiting for rank 2 (.*stopped) in .*, while saving, for 1[0-9] s now; the limit is $words_s s (checkpoint.timeout_s)" "$log")"
expect_no_process
say "a rank stopped in a step is named; after 10 s the others say for whom they wait"
