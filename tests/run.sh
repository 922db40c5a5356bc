#!/bin/sh
# run.sh DIR [SIMT_DIR] - run every test program in DIR (test_ranks_* with 1, 2, 3 and 4 ranks), those in SIMT_DIR,
# which run the CUDA kernels on the host, then tests/check_*.sh and tests/scenario_*.sh; ONLY=programs leaves the
# scripts out
# Prints the output of failures only; exit code 77 means skipped.  ATELIER_TEST_TIMEOUT: seconds for one program.
directory=${1:?usage: run.sh DIR [SIMT_DIR]}
simt_directory=${2:-}
limit=${ATELIER_TEST_TIMEOUT:-600}
passed=0 failed=0 skipped=0
log=$(mktemp) && trap 'rm -f "$log"' EXIT

# Open MPI refuses to start as root, as containers do, unless told twice.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# Sums keep their order, and ranks do not fight for cores, with one thread each.
export OMP_NUM_THREADS=1
export OUT="${OUT:-$(dirname "$directory")}"
# Open MPI itself leaks at exit; leaks of our own show in the programs that do not start it.
quiet_mpi=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0

run() {
    title=$1
    shift
    start=$(date +%s)
    timeout -k 10 "$limit" "$@" >"$log" 2>&1
    code=$?
    took="$(($(date +%s) - start)) s"
    case $code in
    0)
        passed=$((passed + 1))
        echo "ok      $title ($took)"
        ;;
    77)
        skipped=$((skipped + 1))
        echo "skipped $title: $(tail -n 1 "$log")"
        ;;
    *)
        failed=$((failed + 1))
        echo "FAILED  $title (exit code $code, $took)"
        sed 's/^/    /' "$log"
        ;;
    esac
}

# programs DIR WHAT - each program as it wants to be run; WHAT is put before its name.
programs() {
    for program in "$1"/test_*; do
        case $program in
        *.o | *.d | *'*') continue ;;
        esac
        name=$2$(basename "$program")
        case $name in
        *test_ranks_*)
            for n in 1 2 3 4; do
                run "$name on $n ranks" env ASAN_OPTIONS="$quiet_mpi" mpirun --oversubscribe -n $n "$program"
            done
            ;;
        simt*test_ops | simt*test_device | simt*test_attention) # as a Hopper GPU, then an older one in another order
            run "$name, sm_90" env ATELIER_TEST_DEVICE=cuda SIMT_ARCH=90 "$program"
            run "$name, sm_80, disordered" env ATELIER_TEST_DEVICE=cuda SIMT_ARCH=80 SIMT_SEED=3 "$program"
            ;;
        *) run "$name" "$program" ;;
        esac
    done
}

programs "$directory" ""
test -z "$simt_directory" || programs "$simt_directory" "simt "
scripts="check scenario"
test "${ONLY:-}" != programs || scripts=
for kind in $scripts; do
    for script in "$(dirname "$0")/$kind"_*.sh; do
        run "$(basename "$script")" env ASAN_OPTIONS="$quiet_mpi" sh "$script"
    done
done
echo "$passed passed, $failed failed, $skipped skipped"
test $failed -eq 0
