# shellcheck shell=sh
# limits.sh - how long each part of gpu_check.sh (180 s together) and of gpu_bench.sh (720 s) may take, so that both fit into 15
# minutes of a machine; to be sourced.  What they should take is in kernels/cuda/NOTES.md, "The first time on a GPU".
#   LIMIT_S=N   so many seconds for each part in place of these; 0: as long as it takes

# limit_of PART - seconds.
limit_of() {
    case $1 in
    ops | attention) echo 45 ;;
    model | train | ranks) echo 30 ;;
    kernels) echo 150 ;;
    steps) echo 240 ;;
    peer) echo 330 ;;
    esac
}

# begin_part PART - its time begins.
begin_part() {
    part_limit=${LIMIT_S:-$(limit_of "$1")}
    part_began=$(date +%s)
}

# limited COMMAND... - a program, which is ended when the part's time is over: 124 or 137, as where none is left.
limited() {
    if [ "$part_limit" -eq 0 ] || ! command -v timeout >/dev/null; then
        "$@"
        return
    fi
    left=$((part_began + part_limit - $(date +%s)))
    test $left -gt 0 || return 124
    timeout -k 5 $left "$@" </dev/null # mpirun reads it, and would be stopped if it were a terminal
}
is_cut() { test "$1" -eq 124 || test "$1" -eq 137; }
