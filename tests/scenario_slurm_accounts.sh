#!/bin/sh
# scenario_slurm_accounts.sh - a real Slurm with a database (slurmdbd, MariaDB): an account that is not the user's, limits
# of a QoS as Slurm tells them, `doctor --site` beside them, and a run that an urgent job takes the nodes from: it is
# requeued, goes on from its checkpoint and ends with all its steps.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario slurm_accounts
# shellcheck source=tests/slurm/scenario_cluster.sh
. tests/slurm/scenario_cluster.sh
cluster_kind=accounts
cluster_start
prepare_sample
sed 's/^    option: tiny$/&\n    qos: [{name: normal}, {name: short, on_request: true}, {name: large, on_request: true}]/' \
    tests/slurm/site.yaml >"$work/site.yaml"
grep -q 'name: large' "$work/site.yaml" || fail "the profile has no QoS"
site=$work/site.yaml

# --- accounts ---

submit 1 "$work/theirs" --set slurm.account=theirs
expect_output "^error: nothing was submitted: 'sbatch' .*Invalid account or account/partition combination"
submit 1 "$work/nobody" --set slurm.account=nobody
expect_output "^error: nothing was submitted: 'sbatch' .*Invalid account"
expect "jobs in the queue" "" "$(squeue -h)"
submit 0 "$work/mine" --set slurm.account=mine --set train.steps=5
wait_until 60 "the run of the right account" has_ended "$work/mine"
expect "its chain" "done" "$(status "$work/mine" chain)"
expect "the account Slurm billed" mine "$(sacct -nPX -j "$job" -o Account)"
say "another project's account is refused in Slurm's words, the right one is billed"

# --- limits of a QoS ---

# The profile does not know the limits: Slurm's own answers are told.
submit 0 "$work/long" --set slurm.account=mine --set slurm.qos=short --set slurm.time=10min
wait_until 20 "the reason" sh -c "squeue -h -o %r -j $job | grep -q QOSMaxWall"
run 0 "$atelier" status "$work/long"
expect_output 'waits: QOSMaxWallDurationPerJobLimit'
submit 0 "$work/wide" --set slurm.account=mine --set slurm.qos=large --set slurm.gpus_per_node=4 --set slurm.time=10min
wait_until 20 "the reason" sh -c "squeue -h -o %r -j $job | grep -q QOSMax"
run 0 "$atelier" status "$work/wide"
expect_output 'waits: QOSMax'
submit 0 "$work/second" --set slurm.account=mine --set slurm.qos=short --set slurm.time=10min
submit 1 "$work/third" --set slurm.account=mine --set slurm.qos=short --set slurm.time=10min
expect_output "^error: nothing was submitted: 'sbatch' .*(QOSMaxSubmitJobPerUserLimit|job submit limit)"
# A profile that knows them refuses before Slurm is asked.
sed 's/{name: short, on_request: true}/{name: short, max_hours: 0.0334, max_submitted: 2, on_request: true}/' "$work/site.yaml" \
    >"$work/knows.yaml"
site=$work/knows.yaml
submit 2 "$work/third" --set slurm.account=mine --set slurm.qos=short --set slurm.time=10min
expect_output "^error: 'slurm.time' is 00:10:00, but QoS 'short' allows 00:02:00"
submit 2 "$work/third" --set slurm.account=mine --set slurm.qos=short --set slurm.time=2min
expect_output "^error: QoS 'short' allows 2 submitted jobs, and you have 2"
run 0 "$atelier" doctor --site "$work/knows.yaml"
expect_output '^note +your accounts: .*mine'
sed 's/max_hours: 0.0334, max_submitted: 2/max_hours: 1, max_submitted: 3/; s/name: large/name: wide/' "$work/knows.yaml" >"$work/wrong.yaml"
run 1 "$atelier" doctor --site "$work/wrong.yaml"
expect_output "^error +QoS 'short': time limit 01:00:00 in the profile, 00:02:00 on the cluster"
expect_output "^error +QoS 'wide' of partition 'tiny' is not on the cluster"
expect_output "^warning +QoS 'short': 3 submitted jobs in the profile, 2 on the cluster"
site=$work/site.yaml
scancel -u "$(id -un)"
queue_is_empty() { [ -z "$(squeue -h)" ]; }
wait_until 20 "an empty queue" queue_is_empty
say "limits of a QoS: told by status and submit as Slurm says them, and found by doctor --site"

# --- preemption ---

folder=$work/preempted
submit 0 "$folder" --set slurm.account=mine --set train.steps=100000 --set checkpoint.every_steps=20 --set slurm.time=20min
wait_until 60 "a checkpoint" test -f "$folder/latest"
printf '#!/bin/sh\nsleep 4\n' >"$work/urgent.sh"
urgent=$(sbatch --parsable -p tiny --account=mine --qos=urgent -N2 --exclusive --time=2 -o /dev/null "$work/urgent.sh")
wait_until 60 "the urgent job" sh -c "[ \"\$(sacct -nPX -j $urgent -o State)\" = COMPLETED ]"
reached=$(last_step "$folder")
wait_until 60 "the second start" has_line "$folder" 'the previous start was preempted: it does not count'
expect "starts that count" 1 "$(status "$folder" starts)"
expect "jobs that were submitted" 1 "$(wc -l <"$folder/jobs.txt" | tr -d ' ')"
wait_until 60 "steps of the second start" has_step "$folder" "$((reached + 5))"
expect_line "$folder" "resumed from '.*' after step [0-9]+\$"
run 0 "$atelier" stop "$folder" --now
wait_until 60 "the end" has_ended "$folder"
steps=$(last_step "$folder")
expect_complete "$folder" "$steps"
run 0 ranks_straight "$work/straight" "$steps"
expect_same_losses "$work/straight" "$folder" "$steps"
say "an urgent job took the nodes at step $reached: requeued, resumed, the same $steps losses as a run that nothing disturbed"
