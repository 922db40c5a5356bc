#!/bin/sh
# scenario_slurm_nodes.sh - nodes that fail, on a real Slurm of two: a rank is killed on one node, and the next start of the
# chain is on the other; with one node that may be left out, the second failure lets the first node in again; a node that
# Slurm finds dead is left out too; what is not a node's fault (preempted, without accounts; cancelled) leaves none out.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario slurm_nodes
# shellcheck source=tests/slurm/scenario_cluster.sh
. tests/slurm/scenario_cluster.sh
cluster_kind=urgent
cluster_start
prepare_sample
every=5

# single WANTED_CODE FOLDER [ARGUMENT...] - a job on one node of the two: a node can be left out.
single() {
    wanted_code=$1 folder=$2
    shift 2
    submit "$wanted_code" "$folder" --set slurm.nodes=1 --set train.steps=100000 --set "checkpoint.every_steps=$every" "$@"
}

running_job() { squeue -h -p tiny -t RUNNING -o %i; }
node_of() { squeue -h -j "$1" -o %N; }
excluded_of() { scontrol -o show job "$1" | tr ' ' '\n' | sed -n 's/^ExcNodeList=//p'; }
listed() { tr -d ' \n' <"$1/chain.json" | grep -o '"excluded":\[[^]]*\]' | grep -o '"node":"[^"]*"' | cut -d'"' -f4 | tr '\n' ' '; }

# kill_rank - one of the running job's ranks, with SIGKILL; its node goes to $struck.
kill_rank() {
    struck=$(node_of "$(running_job)")
    for pid in $(own_processes); do
        if tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qx 'PMIX_RANK=1' && grep -q train "/proc/$pid/cmdline"; then
            kill -9 "$pid"
            return
        fi
    done
    fail "no rank found"
}

# kill_node NODE JOB - as where the power goes: the daemon, what it started for the job, and what those started.
kill_node() {
    kill -9 "$(cat "$ATELIER_SLURM_FOLDER/slurmd-$1.pid")"
    tasks='' stepds=''
    for environ in /proc/[0-9]*/environ; do
        pid=${environ#/proc/} pid=${pid%/environ}
        variables=$(tr '\0' '\n' 2>/dev/null <"$environ" | grep -xE "SLURMD_NODENAME=$1|SLURM_JOB_ID=$2|SLURM_CONF=$SLURM_CONF")
        [ "$(printf '%s\n' "$variables" | sort -u | wc -l)" = 3 ] || continue
        tasks="$tasks $pid"
        parent=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null)
        [ "$(cat "/proc/${parent:-0}/comm" 2>/dev/null)" != slurmstepd ] || stepds="$stepds $parent"
    done
    [ -n "$stepds" ] || fail "no slurmstepd of job $2 found"
    # shellcheck disable=SC2086
    kill -9 $stepds $tasks 2>/dev/null
}

# works START - that start of the chain trains.
works() {
    wait_until 60 "start $1" has_starts "$folder" "$1"
    wait_until 30 "the line of start $1" has_line "$folder" "start $1 of at most 8, from step [0-9]+ of"
    from=$(cat "$folder"/logs/*.out | sed -n "s/.*start $1 of at most 8, from step \\([0-9]*\\) of.*/\\1/p")
    wait_until 60 "a checkpoint of start $1" has_step "$folder" "$((from + 2 * every + 2))"
}

# --- a rank is killed: its node is left out ---

single 0 "$work/chain" --chain 8
works 1
kill_rank
first=$struck
works 2
other=$(node_of "$(running_job)")
[ "$other" != "$first" ] || fail "start 2 is on '$first', where a rank was killed"
expect "what Slurm is told" "$first" "$(excluded_of "$(running_job)")"
expect "what chain.json holds" "$first " "$(listed "$folder")"
expect_line "$folder" "node $first is left out of the next starts: job [0-9]+ failed there \(tasks? [0-9-]+: Killed\)"
run 0 "$atelier" status "$folder"
expect_output "^left out +$first since 20.*: job [0-9]+ failed there \(tasks? [0-9-]+: Killed\)"
run 0 "$atelier" status "$folder" --json
tr -d ' \n' <"$log" | grep -q "\"excluded_nodes\":\[\"$first\"\]" || fail "status --json does not name the node"
say "a rank killed on $first: start 2 is on $other"

# --- the bound: one of two nodes may be left out ---

kill_rank
expect "the second node" "$other" "$struck"
works 3
expect "start 3" "$first" "$(node_of "$(running_job)")"
expect "left out now" "$other " "$(listed "$folder")"
expect_line "$folder" "node $first may be used again: at most 1 may be left out"
say "a rank killed on $other as well: start 3 is on $first again"

# --- cancelled: no node's fault; the exclusion stays for the starts that follow ---

scancel "$(running_job)"
works 4
expect "left out after scancel" "$other " "$(listed "$folder")"
expect "start 4" "$first" "$(node_of "$(running_job)")"
run 0 "$atelier" stop "$folder" --now
wait_until 60 "the end" has_ended "$folder"
say "scancel: nothing else is left out, and start 4 keeps to $first"

# --- a partition without nodes to spare ---

submit 0 "$work/wide" --chain 8 --set train.steps=100000 --set "checkpoint.every_steps=$every"
works 1
kill_rank
works 2
expect "left out where both nodes are needed" "" "$(listed "$folder")"
if ! has_line "$folder" 'n0: tasks?.*: Killed' || ! has_line "$folder" 'n1: tasks?.*: Killed'; then # Slurm 24 may kill both
    expect_line "$folder" "node n[01] failed \(job [0-9]+: tasks? [0-9-]+: Killed\), but is not left out: the partition has no nodes to spare"
fi
run 0 "$atelier" stop "$folder" --now
wait_until 60 "the end" has_ended "$folder"
say "a job on both nodes: the failure is told, nothing is left out"

# --- the daemon of the node dies: Slurm requeues the job, which knows at its next start ---

single 0 "$work/dead" --chain 8
works 1
first=$(node_of "$(running_job)")
wounded=$(running_job)
kill_node "$first" "$wounded"
wait_until 120 "another start" has_starts "$folder" 2
works 2
expect "left out after a dead node" "$first " "$(listed "$folder")"
sh tests/slurm/cluster.sh node "$first"
follow_up=$(squeue -h -t PENDING -o %i)
expect "what the follow-up was told" "$first" "$(excluded_of "$follow_up")"
run 0 "$atelier" stop "$folder" --now
wait_until 60 "the end" has_ended "$folder"
say "slurmd of $first killed: the chain goes on elsewhere, and its follow-up leaves $first out"

# --- preempted, where Slurm keeps no accounts ---

folder=$work/preempted
single 0 "$folder" --chain 2
wait_until 60 "a checkpoint" test -f "$folder/latest"
printf '#!/bin/sh\nsleep 4\n' >"$work/urgent.sh"
sbatch --parsable -p urgent -N2 --exclusive --time=2 -o /dev/null "$work/urgent.sh" >/dev/null
wait_until 60 "the second start" has_line "$folder" 'is preempted: this start does not count|the previous start was preempted: it does not count'
goes_on() { [ -n "$(running_job)" ]; }
wait_until 60 "the second start" goes_on
wait_until 30 "its line" has_line "$folder" 'start 1 of at most 2, from step [1-9][0-9]* of'
expect "starts that count" 1 "$(status "$folder" starts)"
expect "starts that were preempted" 1 "$(status "$folder" preempted)"
expect "left out after a preemption" "" "$(listed "$folder")"
run 0 "$atelier" stop "$folder" --now
wait_until 60 "the end" has_ended "$folder"
say "preempted without accounts: no start is spent, no node is left out"
