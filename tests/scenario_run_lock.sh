#!/bin/sh
# scenario_run_lock.sh - two runs in one folder: the second is refused by the first one's name before it has looked at
# anything, and takes the folder over once the first has ended; what 'atelier stop' asked for ends with the next start.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario run_lock
prepare_sample
folder=$work/run

train_start 0 "$folder" --set train.steps=1000000 --set checkpoint.every_steps=20
wait_for_step "$folder" 30
before=$(cat "$folder/latest")
code=0
"$atelier" train "$tiny" --set "run.folder=$folder" --set data.train=nowhere.h5 >"$work/second.log" 2>&1 || code=$?
expect "exit code of the second run" 2 "$code"
grep -Eq "^(\[[^]]*\] )?error: .*'$folder' belongs to user '$(id -un)' \(process $started on host [^ ]+, started 20" "$work/second.log" ||
    fail "the second run should name the owner: $(cat "$work/second.log")"
# It came no further: neither the data, which are missing, nor the checkpoint were looked at.
! grep -q nowhere "$work/second.log" || fail "the second run looked at its data: $(cat "$work/second.log")"
run 0 "$atelier" status "$folder"
expect_output '^state +running$'
expect_output "^process +of user '$(id -un)' \(process $started on host"
expect_output '^ETA '
run 0 "$atelier" stop "$folder"
expect_output 'saves a checkpoint after its present step and ends'
train_end 30
expect "exit code of the run that was stopped" 75 "$code"
[ "$(cat "$folder/latest")" != "$before" ] || fail "the stop saved nothing"
stopped=$(last_step "$folder")

run 0 "$atelier" status "$folder"
expect_output '^state +stopped$'
if grep -q '^ETA ' "$log"; then fail "a run that nobody works on is told when it ends"; fi
run 0 "$atelier" status "$folder" --json
expect_output '"eta_s": null'
run 0 "$atelier" status "$folder"
if grep -q '^stop ' "$log"; then fail "a stop that was obeyed is told as if it were still to come"; fi
run 0 "$atelier" stop "$folder"
expect_output "no run is under way in '$folder' \($stopped steps are done\): there is nothing to stop"
run 1 "$atelier" stop "$folder" --save
expect_output 'there is nothing to save'

# The stop was for that start: the next one goes on.
[ -e "$folder/stop" ] || fail "no mark of the stop"
train 0 0 "$folder" --set "train.steps=$((stopped + 5))"
expect_output "resumed from .* after step $stopped"
if [ -e "$folder/stop" ] || [ -e "$folder/command" ]; then fail "the next start left what the earlier one was told"; fi
expect_complete "$folder" "$((stopped + 5))"
run 0 "$atelier" status "$folder"
expect_output '^state +done$'
run 0 "$atelier" stop "$folder"
expect_output "the run is done, all $((stopped + 5)) steps: there is nothing to stop"
[ ! -e "$folder/stop" ] || fail "a finished run was marked as stopped"
mkdir "$work/empty"
run 1 "$atelier" stop "$work/empty"
expect_output "^error: '$work/empty' holds no run: there is nothing to stop"
run 0 "$atelier" status "$work/empty"
expect_output '^state +not started$'
expect "files in an empty folder" "" "$(ls "$work/empty")"
say "a second run is refused by name, stop ends one start, the next goes on from step $stopped"

# Started three times in the same moment: one trains, the others are refused by its name or find its work done.
pids=''
for start in 1 2 3; do
    "$atelier" train "$tiny" --set "run.folder=$work/same" --set "data.train=$work/fiches.h5" --set train.steps=3 \
        >"$work/same-$start.log" 2>&1 &
    pids="$pids $!"
done
for pid in $pids; do
    code=0
    wait "$pid" || code=$?
    case $code in
    0 | 2) ;;
    *) fail "one of three starts in the same moment ended with code $code" ;;
    esac
done
expect "starts that trained" 1 "$(cat "$work"/same-?.log | grep -c '^outcome  *done$')"
expect "starts that were refused or had nothing to do" 2 "$(cat "$work"/same-?.log | grep -Ec "^error: '$work/same' belongs to|^'$work/same' is done already")"
expect "starts in the metrics" 1 "$(grep -c '"event": "start"' "$work/same/metrics.jsonl")"
expect_complete "$work/same" 3
say "three starts in the same moment: one trains"

# A run that does not begin leaves no folder.
run 2 "$atelier" train "$tiny" --set "run.folder=$work/none" --set data.train=nowhere.h5
[ ! -e "$work/none" ] || fail "a refused run left '$work/none'"
say "a refused run leaves nothing"
