#!/bin/sh
# scenario_slurm.sh - a night on a real Slurm of two nodes: `atelier submit` on 2 x 2 ranks; the time limit comes, the run
# saves itself, is requeued and finishes with the losses of a run that nothing interrupted; a chain of three jobs; the
# budget; `status` and `stop` meanwhile.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario slurm
# shellcheck source=tests/slurm/scenario_cluster.sh
. tests/slurm/scenario_cluster.sh
cluster_start
prepare_sample

# --- how fast this machine is: the interrupted run must outlast its signal ---

submit 0 "$work/speed" --set train.steps=40
expect_output '^cost +at most 1\.3 GPU-hours \(8 GPUs x 0\.1667 h\)'
expect_output 'billed by whole nodes: 8 GPUs, though it uses 4'
wait_until 60 "the first run" has_ended "$work/speed"
expect "state of a run that is done" "done" "$(status "$work/speed" state)"
expect "its reason" "all 40 steps are done" "$(status "$work/speed" reason)"
expect_complete "$work/speed" 40
step_s=$(tail -n 20 "$work/speed/metrics.jsonl" | sed -n 's/.*"grad_norm".*"seconds": \([0-9.e-]*\),.*/\1/p' |
    awk '{ sum += $1; n++ } END { print sum / n }')
# The signal comes within 30 s of the start; other tests may have ended by then, and the steps be much shorter: jobs have a low
# priority.
steps=$(awk -v s="$step_s" 'BEGIN { n = int(60 / s); if (n < 3000) n = 3000; if (n > 6000) n = 6000; print n }')
say "2 nodes x 2 ranks: $step_s s a step; $steps steps"

# --- the time limit ---

# A job of two minutes that is told to save 90 s before its end: Slurm looks every 30 s, and may be a minute early.
folder=$work/limit
submit 0 "$folder" --set "train.steps=$steps" --set slurm.time=2min --set slurm.signal_lead_s=90
first_job=$job
wait_until 30 "the first step" has_step "$folder" 1
expect "state while it trains" running "$(status "$folder" state)"
run 0 "$atelier" status "$folder"
expect_output "^job +$first_job, RUNNING on n\[0-1\], [01]:[0-9][0-9] left"
expect_output "^step +[0-9]+/$steps "
expect_output '^GPU-hours +0\.0'
expect_output '^starts +1 of at most 10'
# A second submission of the same run would train over the first.
submit 2 "$folder" --set "train.steps=$steps"
expect_output "^error: job $first_job of this run is in the queue \(RUNNING\)"
wait_until 60 "the requeue" has_line "$folder" "saved after step [0-9]+ of $steps; job $first_job is requeued"
stopped_at=$(sed -n 's/.*saved after step \([0-9]*\) of.*/\1/p' "$folder"/logs/*.out)
expect_complete "$folder" "$stopped_at"
wait_until 30 "the second start" has_starts "$folder" 2
wait_until 180 "the end" has_ended "$folder"
expect "the interrupted run" "done" "$(status "$folder" state)"
expect_line "$folder" "resumed from '.*' after step $stopped_at\$"
expect "jobs that were submitted" 1 "$(wc -l <"$folder/jobs.txt" | tr -d ' ')"
expect_complete "$folder" "$steps"
say "the time limit came at step $stopped_at of $steps: saved, requeued as job $first_job, done"

# The same run without a limit in the way, straight on the allocation.
run 0 ranks_straight "$work/straight" "$steps"
expect_same_losses "$work/straight" "$folder" "$steps"
# Control: the comparison sees a run that went otherwise.
awk 'NR == 7 { sub(/"loss": [^,]*/, "\"loss\": 1.5") } { print }' "$folder/metrics.jsonl" >"$work/metrics.jsonl"
if (expect_same_losses "$work/straight" "$work" "$steps") >/dev/null; then
    fail "a loss that is another was not noticed"
fi
say "its $steps losses are those of a run that nothing interrupted, to the bit"

# --- a chain of three jobs ---

folder="$work/chain"
submit 0 "$folder" --chain 6 --set train.steps=100000 --set train.stop_after_s=2 --set slurm.time=3min
expect_output '^starts +up to 6: a follow-up job starts after each'
wait_until 30 "the follow-up" has_line "$folder" 'follow-up job [0-9]+ starts after this one'
run 0 "$atelier" status "$folder"
expect_output '^next job +[0-9]+, waits: Dependency|^job +[0-9]+, waits:'
wait_until 60 "the third start" has_starts "$folder" 3
# Its end comes in the third job: as many steps as are done now, and a few.
wait_until 60 "the end of the second job" has_line "$folder" 'from step [0-9]+ of 100000'
run 0 "$atelier" stop "$folder" --now
expect_output 'no further job follows'
wait_until 60 "the end of the chain" has_ended "$folder"
expect "the chain that was stopped" stopped "$(status "$folder" chain)"
expect_line "$folder" "the end: stopped by 'atelier stop' after step [0-9]+"
expect_line "$folder" 'saved after step [0-9]+ of 100000; job [0-9]+ goes on'
[ "$(wc -l <"$folder/jobs.txt")" -ge 4 ] || fail "three jobs ran, and 'jobs.txt' has only: $(cat "$folder/jobs.txt")"
last=$(last_step "$folder")
expect_complete "$folder" "$last"
expect_same_losses "$work/straight" "$folder" "$(awk -v a="$last" -v b="$steps" 'BEGIN { print (a < b ? a : b) }')"
say "a chain: $(status "$folder" starts) jobs, then 'atelier stop --now': saved at step $last, no job follows"

# What the run is still owed: the same folder again, to its end.
submit 0 "$folder" --chain 6 --set "train.steps=$((last + 20))" --set slurm.time=3min
wait_until 60 "the end of the run" has_ended "$folder"
expect "the chain that was taken up again" "done" "$(status "$folder" chain)"
expect_line "$folder" "the end: all $((last + 20)) steps are done"
expect_line "$folder" 'follow-up job [0-9]+ is cancelled'
say "submitted again: done after step $((last + 20)), its follow-up job cancelled"

# --- the budget ---

# Jobs of 3 minutes on 8 GPUs cost up to 0.4 GPU-hours; after one that stops by itself after seconds there is not
# enough left for one that could save in time.
folder=$work/budget
submit 2 "$folder" --chain 9 --set slurm.chain.budget_gpu_hours=0.3 --set slurm.time=3min
expect_output 'one job may cost 0.4 GPU-hours, more than slurm.chain.budget_gpu_hours \(0.3\): set slurm.time to at most 00:02:00'
submit 0 "$folder" --chain 9 --set slurm.chain.budget_gpu_hours=0.4 --set slurm.time=3min --set train.steps=100000 \
    --set train.stop_after_s=2
wait_until 60 "the end of the budget" has_ended "$folder"
expect "the chain without money" stopped "$(status "$folder" chain)"
expect_line "$folder" 'the end: the budget is reached: 0\.0[0-9]* of 0\.4 GPU-hours are used, too little is left for another'
expect_complete "$folder" "$(last_step "$folder")"
is_at_most "$(status "$folder" gpu_hours)" 0.4 || fail "more was spent than the budget: $(status "$folder" gpu_hours)"
say "the budget: $(status "$folder" starts) start(s), $(status "$folder" gpu_hours) of 0.4 GPU-hours, then the chain says so and ends"

# --- commands to a job that runs ---

folder=$work/commands
submit 0 "$folder" --set train.steps=100000 --set checkpoint.keep=0
wait_until 30 "a few steps" has_step "$folder" 5
run 0 "$atelier" stop "$folder" --save
wait_until 20 "the checkpoint" test -f "$folder/latest"
saved=$(last_step "$folder")
wait_until 20 "further steps" has_step "$folder" "$((saved + 5))"
run 0 "$atelier" stop "$folder"
wait_until 30 "the end" has_ended "$folder"
expect "the run that was stopped" stopped "$(status "$folder" chain)"
expect_line "$folder" "the end: stopped by 'atelier stop' after step $(last_step "$folder")"
expect_complete "$folder" "$(last_step "$folder")"
say "stop --save: saved and went on; stop: saved and ended at step $(last_step "$folder")"

# --- the job's own clock, where no signal comes ---

before=$(date +%s)
export SLURM_JOB_ID=999999 SLURM_JOB_END_TIME=$((before + 66)) # a minute of it is kept for the end
train 75 0 "$work/clock" --set train.steps=1000000
unset SLURM_JOB_ID SLURM_JOB_END_TIME
expect_output "because of the time limit of the job"
[ $(($(date +%s) - before)) -le 40 ] || fail "a job that ends in 66 s trained for $(($(date +%s) - before)) s"
expect_complete "$work/clock" "$(last_step "$work/clock")"
say "without a signal the run saves by its own clock: $(($(date +%s) - before)) s after the start, of a job of 66 s"

# --- squeue missing, or slow: status answers from the files ---

mkdir "$work/bin"
printf '#!/bin/sh\nsleep 60\n' >"$work/bin/squeue"
chmod +x "$work/bin/squeue"
folder=$work/limit
before=$(date +%s)
run 0 env "PATH=$PWD/$work/bin:$PATH" "$atelier" status "$folder"
expect_output "queue +not known: 'squeue' did not answer within 5 s"
expect_output "^step +$steps/$steps \(100.0 %\)"
[ $(($(date +%s) - before)) -le 9 ] || fail "status took $(($(date +%s) - before)) s with a slow squeue"
run 0 env PATH=/nonexistent "$atelier" status "$folder"
expect_output "queue +not known: cannot start 'squeue': it is not installed"
run 1 "$atelier" status "$work/nowhere"
expect_output "^error: cannot look at '.*nowhere': No such file"
run 1 "$atelier" status "$work/fiches.h5"
expect_output 'it is not a folder'
say "status without squeue, with a slow one, without a run folder: said, and quick"
