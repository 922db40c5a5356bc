# shellcheck shell=sh
# scenario_cluster.sh - what the scenarios on a real Slurm share; sourced after tests/scenario.sh.  It starts a cluster
# of its own in /tmp (the paths of its sockets must be short), and ends it however the scenario ends.
# shellcheck disable=SC2034,SC2154 # variables of scenario.sh, and for the scenario
site=tests/slurm/site.yaml

# cluster_kind=accounts, set before: with a database behind it; =urgent: with a partition whose jobs come first.
cluster_start() {
    reason=$(sh tests/slurm/deps.sh "${cluster_kind:-}") || skip "$reason"
    export ATELIER_SLURM_FOLDER="/tmp/atelier-slurm-$$" ATELIER_SLURM_PORT=$((20000 + $$ % 3000 * 4))
    trap 'cluster_end; end_scenario' EXIT
    run 0 sh tests/slurm/cluster.sh up "${cluster_kind:-}"
    export SLURM_CONF="$ATELIER_SLURM_FOLDER/slurm.conf"
    srun --mpi=list 2>&1 | grep -q pmix || skip "this Slurm has no PMIx"
    pretend_cuda "$work/atelier-cuda" # the cluster's GPUs are empty files
    printf '%s\n' "$PWD/$work/" >>"$work/mark" # ranks carry the run folder in their arguments
}

cluster_end() {
    sh tests/slurm/cluster.sh down >/dev/null 2>&1
}

# submit WANTED_CODE FOLDER [ARGUMENT...] - the tiny run on 2 nodes x 2 ranks; the id of the job goes to $job.
submit() {
    wanted_code=$1 folder=$2
    shift 2
    run "$wanted_code" "$atelier" submit "$tiny" --program "$work/atelier-cuda" --set "run.folder=$folder" --set "slurm.site=$site" \
        --set "data.train=$PWD/$work/fiches.h5" --set "data.valid=null" --set slurm.nodes=2 \
        --set slurm.ranks_per_node=2 --set slurm.gpus_per_node=2 "$@"
    job=$(sed -n 's/^job *\([0-9]*\)$/\1/p' "$log")
}

# ranks_straight FOLDER STEPS - the same run by srun alone: no job, no limit, nothing in the way.
ranks_straight() {
    srun -N2 --ntasks-per-node=2 env OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=lo \
        OMPI_MCA_mpi_yield_when_idle=1 "$atelier" train "$tiny" --set "run.folder=$1" \
        --set "data.train=$PWD/$work/fiches.h5" --set "train.steps=$2"
}

# status FOLDER KEY - one value of `atelier status --json`, without quotes.
status() {
    "$atelier" status "$1" --json 2>&1 | sed -n "s/^  \"$2\": \"\\{0,1\\}\\([^\",]*\\)\"\\{0,1\\},\\{0,1\\}\$/\\1/p"
}

# wait_until SECONDS WHAT COMMAND... - until the command succeeds.  SECONDS are those of a machine with time to spare: a
# busy one gets three times as many.
wait_until() {
    deadline=$(($(date +%s) + 3 * $1)) what=$2
    shift 2
    until "$@"; do
        [ "$(date +%s)" -le "$deadline" ] || {
            cat "$folder"/logs/*.out >"$log" 2>/dev/null
            fail "waited in vain for $what; the queue: $(squeue -h)"
        }
        sleep 0.2
    done
}

# Conditions for wait_until.
has_step() { [ "$(last_step "$1")" -ge "$2" ]; }
has_state() { [ "$(status "$1" state)" = "$2" ]; }
has_ended() { [ "$(status "$1" chain)" != active ] && [ -z "$(squeue -h -u "$(id -u)" 2>&1)" ]; }
has_starts() { [ "$(status "$1" starts)" -ge "$2" ]; }
has_line() { cat "$1"/logs/*.out 2>/dev/null | grep -Eq -- "$2"; }

# expect_line FOLDER PATTERN - in the logs of the run's jobs.
expect_line() {
    has_line "$1" "$2" || {
        cat "$1"/logs/*.out >"$log" 2>/dev/null
        fail "the job's log should contain '$2'"
    }
}

# expect_same_losses A B STEPS - both runs did so many steps, with the same losses to the bit.
expect_same_losses() {
    losses "$1" | head -n "$3" >"$work/want.losses"
    losses "$2" | head -n "$3" >"$work/got.losses"
    expect "steps of '$2'" "$3" "$(wc -l <"$work/got.losses" | tr -d ' ')"
    cmp -s "$work/want.losses" "$work/got.losses" ||
        fail "the losses differ: $(diff "$work/want.losses" "$work/got.losses" | head -n 4)"
}
