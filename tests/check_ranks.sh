#!/bin/sh
# check_ranks.sh - one place decides how ranks are started, configs/ranks.sh: no other script gives mpirun words that only
# one version of Open MPI knows, or sets what Open MPI reads about root and slots; and with it as many ranks start as are
# asked for, whoever asks, and their exit code comes through.
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
fail() {
    echo "$*"
    exit 1
}
words='--oversubscribe|--allow-run-as-root|--quiet|:oversubscribe|_ALLOW_RUN_AS_ROOT'

# offenders FILE... - "file:line" that decides by itself; comments may name the words.
offenders() {
    grep -nHE "(mpirun.*|export .*|env .*)($words)" "$@" /dev/null | grep -vE '^[^:]*:[0-9]*: *#'
}
find configs tests slurm .ci -name '*.sh' -o -name '*.py' -o -path '.ci/run' |
    grep -vE '^configs/ranks.sh$|^tests/check_ranks.sh$' >"$work/files"
[ "$(wc -l <"$work/files")" -ge 30 ] || fail "the scripts were not found"
# shellcheck disable=SC2046 # none of our names has a space
found=$(offenders $(cat "$work/files"))
[ -z "$found" ] || fail "how ranks are started is decided in configs/ranks.sh alone:
$found"
printf '    mpirun --oversubscribe -n 2 true\n' >"$work/bad.sh" # the control
[ -n "$(offenders "$work/bad.sh")" ] || fail "control: a script of its own was not seen"

# shellcheck source=configs/ranks.sh
. configs/ranks.sh
case $(open_mpi_version) in
[4-9]) ;;
*) fail "the version of Open MPI was not understood: $(mpirun --version 2>&1 | head -n 1)" ;;
esac
ranks=$(($(nproc) + 3))
started=$(mpirun -n "$ranks" sh -c 'echo rank' 2>"$work/log" | grep -c '^rank$')
[ "$started" -eq "$ranks" ] || fail "$ranks ranks asked for, $started started: $(cat "$work/log")"
mpirun -n 2 sh -c 'exit 75' >"$work/log" 2>&1
code=$?
[ "$code" -eq 75 ] || fail "ranks that end with code 75: mpirun ended with $code"
