#!/bin/sh
# scenario_slurm_faults.sh - what goes wrong at night on a real Slurm: a job is cancelled, a rank is killed, a node's
# daemon dies; the chain goes on from a complete checkpoint and ends with the losses of a run that nothing disturbed.
# Two starts that get nowhere end a chain; so does a disk on which its limits cannot be kept.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario slurm_faults
# shellcheck source=tests/slurm/scenario_cluster.sh
. tests/slurm/scenario_cluster.sh
cluster_start
prepare_sample
every=10

# rank_on NODE - the process of a rank of the running job on a node of the cluster.
rank_on() {
    for pid in $(own_processes); do
        if tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qx "SLURMD_NODENAME=$1" &&
            tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -q '^PMIX_RANK=' &&
            grep -q "train" "/proc/$pid/cmdline" 2>/dev/null; then
            echo "$pid"
            return
        fi
    done
}

# running_job - its id in the queue.
running_job() {
    squeue -h -t RUNNING -o %i
}

# goes_on START FROM - the chain's next start trains on, from a checkpoint that is not older than FROM.
goes_on() {
    wait_until 90 "start $1" has_starts "$folder" "$1"
    wait_until 30 "the line of start $1" has_line "$folder" "start $1 of at most 8, from step [0-9]+ of"
    begun_at=$(cat "$folder"/logs/*.out | sed -n "s/.*start $1 of at most 8, from step \\([0-9]*\\) of.*/\\1/p")
    [ "$begun_at" -ge "$2" ] || fail "start $1 went on from step $begun_at, though step $2 was saved"
    wait_until 60 "steps of start $1" has_step "$folder" "$((begun_at + 2 * every + 1))"
}

folder="$work/a chain"
submit 0 "$folder" --chain 8 --set train.steps=100000 --set "checkpoint.every_steps=$every" --set slurm.time=10min
wait_until 60 "a checkpoint" test -f "$folder/latest"

# 1. scancel in the middle: the ranks get SIGTERM and save.
wait_until 30 "the follow-up" has_line "$folder" 'follow-up job [0-9]+ starts after this one'
reached=$(last_step "$folder")
scancel "$(running_job)"
goes_on 2 "$reached"
say "scancel at step $reached: start 2 goes on from step $begun_at"

# 2. kill -9 of a rank.
wait_until 30 "the follow-up" has_line "$folder" 'follow-up job [0-9]+ starts after this one'
reached=$(last_step "$folder") saved=$(saved_step "$folder") # a save may be under way
victim=$(rank_on n1)
[ -n "$victim" ] || fail "no rank found on n1"
kill -9 "$victim"
goes_on 3 "$saved"
expect_line "$folder" 'saved after step [0-9]+ of 100000; job [0-9]+ goes on'
say "kill -9 of a rank at step $reached: start 3 goes on from step $begun_at"

# 3. The daemon of a node dies.  Slurm notices after SlurmdTimeout and requeues the job; the node comes back.
reached=$(last_step "$folder") saved=$(saved_step "$folder")
wounded=$(running_job)
kill -9 "$(cat "$ATELIER_SLURM_FOLDER/slurmd-n1.pid")"
not_running() { [ "$(squeue -h -j "$wounded" -o %T 2>/dev/null)" != RUNNING ]; }
wait_until 120 "Slurm to notice the dead node" not_running
for pid in $(own_processes); do # with the node, its processes are gone
    if tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qx SLURMD_NODENAME=n1; then kill -9 "$pid"; fi
done
sh tests/slurm/cluster.sh node n1
goes_on 4 "$saved"
say "slurmd of n1 killed at step $reached: start 4 goes on from step $begun_at"

# Enough: the same folder again to an end of its own, and then the same run without faults.
run 0 "$atelier" stop "$folder" --now
wait_until 60 "the stop" has_ended "$folder"
num_starts=$(status "$folder" starts)
steps=$(($(last_step "$folder") + 20))
submit 0 "$folder" --chain 8 --set "train.steps=$steps" --set "checkpoint.every_steps=$every" --set slurm.time=10min
wait_until 60 "the end" has_ended "$folder"
expect "the chain after three faults" "done" "$(status "$folder" chain)"
expect_complete "$folder" "$steps"
run 0 ranks_straight "$work/straight" "$steps"
expect_same_losses "$work/straight" "$folder" "$steps"
say "$num_starts starts and a last one, $steps losses as if nothing had happened"

# --- a chain that gets nowhere ---

# The data vanish between submission and start: each start is a fault, and leaves no checkpoint.
cp "$work/fiches.h5" "$work/gone.h5"
folder=$work/nowhere
submit 0 "$folder" --chain 8 --set train.steps=100000 --set "checkpoint.every_steps=0" --set run.timeout_s=20
wait_until 30 "the first step" has_step "$folder" 2
kill -9 "$(rank_on n0)"
wait_until 60 "start 2" has_starts "$folder" 2
wait_until 30 "a step of start 2" has_line "$folder" 'start 2 of at most 8, from step 0 of'
has_rank() { [ -n "$(rank_on n0)" ]; }
wait_until 30 "its ranks" has_rank
kill -9 "$(rank_on n0)"
wait_until 60 "the end" has_ended "$folder"
expect "the chain without progress" stopped "$(status "$folder" chain)"
expect_line "$folder" 'two starts in a row left no new checkpoint: look at the logs'
expect "starts of a chain without progress" 2 "$(status "$folder" starts)"
say "two starts without a new checkpoint: the chain ends and says so"

# --- a full disk, as the chain sees it ---

mkdir "$work/small"
if ! mount -t tmpfs -o size=256k tmpfs "$work/small" 2>/dev/null; then
    say "no mount in this container: the full disk is left out"
    exit 0
fi
mounted=$work/small # end_scenario unmounts it
cp -r "$work/nowhere/run.yaml" "$work/nowhere/job.sh" "$work/small/"
sed 's/"state": "stopped"/"state": "active"/; s/"num_steps": [0-9]*/"num_steps": 200000/; s/"first_job": 0/"first_job": 2/' \
    "$work/nowhere/chain.json" >"$work/small/chain.json"
dd if=/dev/zero of="$work/small/filler" bs=1k 2>/dev/null
cp "$work/small/chain.json" "$work/before.json"
run 1 env SLURM_JOB_ID=77 "$atelier" chain "$work/small" begin
expect_output 'error: the chain ends here, because its limits cannot be kept: .*no space left'
cmp -s "$work/before.json" "$work/small/chain.json" || fail "a full disk damaged 'chain.json'"
run 1 "$atelier" stop "$work/small"
expect_output '^error: .*no space left'
rm "$work/small/filler" "$work/small/stop" # the mark needed no room
run 0 env SLURM_JOB_ID=77 PATH=/nonexistent "$atelier" chain "$work/small" begin
expect_output 'job 77, start 1 of at most 8, from step 0 of 200000'
say "a full disk: the chain ends with one line, its file is whole, and with room it goes on"
