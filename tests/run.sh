#!/usr/bin/env bash
# run.sh DIR [SIMT_DIR] - run every test program in DIR (test_ranks_* with 1, 3 and 4 ranks; two are the sanitizers' and the
# scenarios'), those in SIMT_DIR, which run the CUDA kernels on the host (1, 2 and 4 ranks), then tests/check_*.sh and
# tests/scenario_*.sh
# ONLY=programs leaves the scripts out, ONLY=simt all but what is in SIMT_DIR; RANKS="2 4": these numbers of ranks; WHOLE=1: in
# SIMT_DIR also what takes minutes there, and of the grids of layouts in scenarios all, not a sample.
# Programs run side by side, as many as there are cores, and of the scripts that do not ask how long something takes one more:
# they wait now and then.  The clusters of the Slurm scenarios wait much: they have slots of their own, beside all of these from
# the first.  The scripts that fill the machine, or measure it, come last.
# Prints the output of failures only; exit code 77 means skipped.  ATELIER_TEST_TIMEOUT: seconds for one program.
directory=${1:?usage: run.sh DIR [SIMT_DIR]}
simt_directory=${2:-}
limit=${ATELIER_TEST_TIMEOUT:-600}
here=$(dirname "$0")
shopt -s extglob # @(a|b): one of those; !(a|b): all but those
# Scripts that fill the machine, or measure it: nothing runs beside them.
filling='memory|probe|smollm2'
# Those that ask how long something takes, and wait most of it: two of them at a time, and nothing else.
timed_checks='comm|transport'
timed='faults|kill|signal|waits'
num_jobs=$(nproc)
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

# shellcheck source=configs/ranks.sh
. "$here/../configs/ranks.sh"
# Sums keep their order, and ranks do not fight for cores, with one thread each.  Where a test asks for more, those that wait for
# the others sleep: tests run beside each other, and a thread that turns in a loop keeps a core from the one it waits for (measured
# at a load of 8: 35 s instead of 3 s for five steps of two threads).
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
export OUT="${OUT:-$(dirname "$directory")}"
# Open MPI itself leaks at exit; leaks of our own show in the programs that do not start it.
quiet_mpi=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0

# run TITLE COMMAND... - one test; its line with the seconds it took, of the clock and of processors, and its output if it failed, in
# one piece.
run() {
    local title=$1 start=$SECONDS log code took TIMEFORMAT='%U %S'
    shift
    log=$(mktemp "$work/XXXXXX")
    { time timeout -k 10 "$limit" "$@" >"$log" 2>&1; } 2>"$log.time"
    code=$?
    took="$((SECONDS - start)) s, $(awk 'END { printf "%.0f", $1 + $2 }' "$log.time") of processors"
    {
        flock 9
        case $code in
        0) echo "ok      $title ($took)" ;;
        77) echo "skipped $title: $(tail -n 1 "$log")" ;;
        *)
            echo "FAILED  $title (exit code $code, $took)"
            sed 's/^/    /' "$log"
            ;;
        esac
    } 9>"$work/lock"
    rm -f "$log" "$log.time"
}

# beside TITLE COMMAND... - run in the background as soon as a core is free.
beside() {
    while [ "$(jobs -rp | wc -l)" -ge "$num_jobs" ]; do
        wait -n
    done
    run "$@" &
}

# alone DIR WHAT - the programs of one process; WHAT is put before their names.
alone() {
    local program name types=${WHOLE:+all} fast_types=${WHOLE:+all}
    types=${types:-bf16} fast_types=${fast_types:-16bit} # f32 has the plain kernel alone, which runs in the models' tests, too
    for program in "$1"/test_*; do
        name=$2$(basename "$program")
        case $name in
        *.o | *.d | *'*' | *test_ranks_*) ;;
        # A Hopper GPU has kernels of its own for attention in 16-bit types alone; all else runs as on an older one, in another
        # order than it would.
        # What a row sees is decided by the same source in every type.
        simt*test_attention_mask)
            beside "$name, sm_90" env ATELIER_TEST_DEVICE=cuda "ATELIER_TEST_TYPES=$types" SIMT_ARCH=90 "$program"
            beside "$name, sm_80, disordered" env ATELIER_TEST_DEVICE=cuda "ATELIER_TEST_TYPES=$types" SIMT_ARCH=80 SIMT_SEED=3 "$program"
            [ -z "${WHOLE:-}" ] ||
                beside "$name, sm_70" env ATELIER_TEST_DEVICE=cuda ATELIER_TEST_TYPES=f16 SIMT_ARCH=70 SIMT_SEED=4 "$program"
            ;;
        simt*test_attention)
            beside "$name, sm_90" env ATELIER_TEST_DEVICE=cuda ATELIER_TEST_TYPES=16bit SIMT_ARCH=90 "$program"
            beside "$name, sm_80, disordered" env ATELIER_TEST_DEVICE=cuda "ATELIER_TEST_TYPES=$fast_types" SIMT_ARCH=80 SIMT_SEED=3 "$program"
            ;;
        simt*test_attention_sm80)
            beside "$name" "$program"
            beside "$name, sm_70" env SIMT_ARCH=70 "$program"
            ;;
        simt*test_@(ops_fp8|ops_fp8_blocks|fp8_step)) # an older GPU has none of it
            beside "$name, sm_90, disordered" env ATELIER_TEST_DEVICE=cuda SIMT_ARCH=90 SIMT_SEED=3 "$program"
            ;;
        simt*test_ops_sinks)
            beside "$name, sm_90" env ATELIER_TEST_DEVICE=cuda SIMT_ARCH=90 "$program"
            beside "$name, sm_80, disordered" env ATELIER_TEST_DEVICE=cuda SIMT_ARCH=80 SIMT_SEED=3 "$program"
            ;;
        simt*test_@(ops*|experts*|device|model|router|session|layer_plan|objectives|short_logits|linear_seam))
            beside "$name, sm_80, disordered" env ATELIER_TEST_DEVICE=cuda SIMT_ARCH=80 SIMT_SEED=3 "$program"
            ;;
        *) beside "$name" "$program" ;;
        esac
    done
    wait
}

# with_ranks DIR WHAT COUNTS - the programs of several processes, with each number of ranks in COUNTS.
with_ranks() {
    local program count
    for program in "$1"/test_ranks_*; do
        case $program in
        *.o | *.d | *'*') continue ;;
        esac
        for count in $3; do
            # Minutes on the kernels' stand-in; on CPUs they run with every number of ranks.
            case "${WHOLE:+whole }$2$program" in
            "simt "*test_ranks_@(muon|quantised|train)) [ "$count" -eq 2 ] || continue ;;
            "simt "*test_ranks_transport_cuda) [ "$count" -eq 4 ] || continue ;;
            esac
            beside "$2$(basename "$program") on $count ranks" env ASAN_OPTIONS="$quiet_mpi" \
                mpirun -n "$count" "$program"
        done
    done
    wait
}

# scripts HOW FILE... - HOW: run or beside.
scripts() {
    local how=$1 script
    shift
    for script in "$@"; do
        "$how" "$(basename "$script")" env ASAN_OPTIONS="$quiet_mpi" "$script"
    done
    wait
}

# slurm_scripts - the longest first: the others fit beside it.
slurm_scripts() {
    num_jobs=$(($(nproc) + 1))
    scripts beside "$here"/scenario_slurm.sh "$here"/scenario_slurm_*.sh
}

beside_clusters() {
    if [ "${ONLY:-}" != simt ]; then alone "$directory" ""; fi
    [ -z "$simt_directory" ] || alone "$simt_directory" "simt "
    if [ "${ONLY:-}" != simt ]; then with_ranks "$directory" "" "${RANKS:-1 3 4}"; fi
    [ -z "$simt_directory" ] || with_ranks "$simt_directory" "simt " "${RANKS:-1 2 4}"
    [ -n "${ONLY:-}" ] && return
    num_jobs=$(($(nproc) + 1))
    scripts beside "$here"/check_!($timed_checks).sh "$here"/scenario_!(slurm*|$filling|$timed).sh
}

# undisturbed - the scripts that ask for the machine, or for quiet.
undisturbed() {
    scripts run "$here"/scenario_@($filling).sh
    num_jobs=2
    scripts beside "$here"/check_@($timed_checks).sh "$here"/scenario_@($timed).sh
}

# A subshell waits for its own programs alone.
everything() {
    [ -n "${ONLY:-}" ] || slurm_scripts &
    (beside_clusters)
    wait
    [ -n "${ONLY:-}" ] || undisturbed
}

everything | tee "$work/lines"
failed=$(grep -c '^FAILED ' "$work/lines")
echo "$(grep -c '^ok ' "$work/lines") passed, $failed failed, $(grep -c '^skipped ' "$work/lines") skipped"
test "$failed" -eq 0
