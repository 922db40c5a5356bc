# shellcheck shell=sh
# scenario.sh - what the end-to-end tests share.  A script tests/scenario_THING.sh sources this file, calls
# `scenario THING` first, and uses the program as a user does.  It ends with 0 (passed), 77 (skipped, the reason is its
# last line) or 1 (failed; what was expected and what came are printed).
#   OUT=build/cpu   where the program is; everything written goes to build/tmp/THING, made anew each time
#   KEEP=1          leaves that folder where it passed, too: together they are 12 GB

set -u
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=configs/ranks.sh
. configs/ranks.sh
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive # sums keep their order; threads that wait leave the core to other tests
export LC_ALL=C          # numbers with a point, messages in English
atelier=${OUT:-build/cpu}/atelier
tiny=tests/scenario/tiny.yaml
code=0 # exit code of the last run

scenario() {
    work=build/tmp/$1
    log=$work/last.log # output of the last run
    chmod -R u+w "$work" 2>/dev/null
    rm -rf "$work" && mkdir -p "$work" || exit 1
    export XDG_CACHE_HOME="$PWD/$work/cache" # nothing is written to, or read from, the user's own
    : >"$log"
    printf '%s\n' "run.folder=$work/" >"$work/mark" # by this, processes of this scenario are recognised
    trap end_scenario EXIT
    trap 'exit 1' INT TERM HUP
    [ -x "$atelier" ] || fail "no '$atelier': build it first (make), or set OUT"
}

# end_scenario - nothing of this scenario is left, however it ended; its folder is, where it failed.
end_scenario() {
    ended=$?
    for pid in $(own_processes); do
        kill -9 "$pid" 2>/dev/null
    done
    if [ -n "${mounted:-}" ]; then
        umount "$mounted"
    fi
    if [ "$ended" -eq 0 ] && [ -z "${KEEP:-}" ]; then
        chmod -R u+w "$work" 2>/dev/null
        rm -rf "$work"
    fi
}

say() {
    printf '%s\n' "$*"
}

skip() {
    say "$*"
    exit 77
}

# sampled SAMPLE WHOLE - the cases to try of a grid: a sample in which each value of each of its axes is there, or, with WHOLE=1 (make
# check WHOLE=1), all.
sampled() {
    if [ -n "${WHOLE:-}" ]; then say "$2"; else say "$1"; fi
}

# fail - say what was expected and what came; the last output helps to see why.
fail() {
    say "FAILED: $*"
    if [ -s "$log" ]; then
        say "last output ($log):"
        tail -n 25 "$log" | sed 's/^/    | /'
    fi
    exit 1
}

# expect WHAT WANTED GOT
expect() {
    [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"
}

# expect_output PATTERN - in the output of the last run, an extended regular expression.
expect_output() {
    grep -Eq -- "$1" "$log" || fail "the output should contain '$1'"
}

# --- running the program ---

# expect_killed RANK - mpirun names the rank that a kill -9 ended; that of Open MPI 5 breaks the sentence.
expect_killed() {
    tr '\n' ' ' <"$log" | grep -Eq "rank $1 with PID [0-9]+ on node [^ ]+ exited on signal 9 " ||
        fail "mpirun should say that rank $1 exited on signal 9"
}

# run WANTED_CODE COMMAND... - output to $log, exit code to $code, which must match the wanted one (a shell pattern).
run() {
    wanted=$1
    shift
    code=0
    "$@" >"$log" 2>&1 || code=$?
    # shellcheck disable=SC2254
    case $code in
    $wanted) ;;
    *) fail "'$*': expected exit code $wanted, got $code" ;;
    esac
}

# on_ranks N COMMAND... - under mpirun; 0: started alone, as a user does at a desk.
on_ranks() {
    num_ranks=$1
    shift
    if [ "$num_ranks" -gt 0 ]; then
        set -- mpirun -n "$num_ranks" "$@"
    fi
    "$@"
}

# train WANTED_CODE NUM_RANKS FOLDER [ARGUMENT...] - the tiny run in FOLDER.
train() {
    wanted_code=$1 ranks=$2 folder=$3
    shift 3
    run "$wanted_code" on_ranks "$ranks" "$atelier" train "$tiny" --set "run.folder=$folder" \
        --set "data.train=$work/fiches.h5" --set "data.valid=$work/fiches-valid.h5" "$@"
}

# train_start NUM_RANKS FOLDER [ARGUMENT...] - the same in the background; its process (or mpirun's) is $started.
train_start() {
    ranks=$1 folder=$2
    shift 2
    set -- "$atelier" train "$tiny" --set "run.folder=$folder" --set "data.train=$work/fiches.h5" \
        --set "data.valid=$work/fiches-valid.h5" "$@"
    if [ "$ranks" -gt 0 ]; then
        set -- mpirun -n "$ranks" "$@"
    fi
    : >"$log" # here, not when the other process comes to it: what the last run said is not this one's
    "$@" >"$log" 2>&1 &
    started=$!
}

# train_end SECONDS - wait for it, at most so long; exit code to $code.
train_end() {
    deadline=$(($(date +%s) + $1))
    while kill -0 "$started" 2>/dev/null; do
        [ "$(date +%s)" -le "$deadline" ] || fail "the run had not ended $1 s later"
        sleep 0.05
    done
    code=0
    wait "$started" || code=$?
}

# expect_running WHAT - the started run has not ended before this came.
expect_running() {
    if ! kill -0 "$started" 2>/dev/null; then
        code=0
        wait "$started" || code=$?
        fail "the run ended with code $code before $1"
    fi
}

# pretend_cuda FILE - a program that says it holds the code of every GPU, and computes on processors: for jobs on
# partitions whose GPUs are not there.
pretend_cuda() {
    cat >"$1" <<END
#!/bin/sh
case "\$1 \${2:-}" in
"--version --json") echo '{"version": "$("$atelier" --version | cut -d' ' -f2)", "cuda": true, "gpu_codes": ["sm_70", "sm_80", "sm_90a"]}' ;;
train\ *) exec "$(realpath "$atelier")" "\$@" --set run.device=cpu ;;
*) exec "$(realpath "$atelier")" "\$@" ;;
esac
END
    chmod +x "$1"
}

# prepare_sample - the sample corpus as token files fiches.h5 and fiches-valid.h5.
prepare_sample() {
    run 0 "$atelier" prepare "$tiny" --set "prepare.output=$work/fiches.h5"
}

# --- looking at a run ---

# losses FOLDER - "step loss" of every training step, as text: of the present line of history, as a start line says after
# which step a start went on.
losses() {
    sed -n 's/^{"step": \([0-9]*\), "loss": \([^,]*\),.*/\1 \2/p; s/^{"event": "start", "after_step": \([0-9]*\),.*/start \1/p' \
        "$1/metrics.jsonl" |
        awk '$1 == "start" { while (n > 0 && ($2 == 0 || step[n] > $2)) n--; next }
             { step[++n] = $1; loss[n] = $2 }
             END { for (i = 1; i <= n; i++) print step[i], loss[i] }'
}

# last_step FOLDER - of the training steps told so far; 0 before the first.
last_step() {
    last=$(losses "$1" 2>/dev/null | tail -n 1)
    say "${last%% *}" | grep '[0-9]' || echo 0
}

# trained_sums FOLDER STEP - of all that is trained, and kept beside it, in the checkpoint step-STEP.
trained_sums() {
    (cd "$work/$1" && sha256sum "step-$2/model.safetensors" "step-$2"/state/*.safetensors)
}

# copy_as_it_was FOLDER OF STEP LATER - a run that went on to step-LATER, as when it had ended at step-STEP.
copy_as_it_was() {
    rm -rf "${work:?}/$1"
    cp -r "$work/$2" "$work/$1"
    rm -rf "$work/$1/step-$4"
    echo "step-$3" >"$work/$1/latest"
}

# saved_step FOLDER - of the checkpoint that `latest` names.
saved_step() {
    sed 's/step-0*//' "$1/latest"
}

# wait_for_step FOLDER STEP - until it is done, or the run has ended.
wait_for_step() {
    while [ "$(last_step "$1")" -lt "$2" ]; do
        expect_running "step $2"
        sleep 0.02
    done
}

# worst_difference A B - the largest relative difference of two lists of losses, of what is 0 the difference itself; "none" where
# their steps differ.
worst_difference() {
    awk 'NR == FNR { step[NR] = $1; loss[NR] = $2; count = NR; next }
         { n++; if (step[n] != $1) bad = 1
           difference = loss[n] - $2; if ($2 != 0) difference /= $2; if (difference < 0) difference = -difference
           if (!(difference <= worst)) worst = difference }
         END { if (bad || n != count || n == 0) print "none"; else printf "%.3g\n", worst }' "$1" "$2"
}

# is_within A B RELATIVE - whether two lists of losses are equal so far.
is_within() {
    worst=$(worst_difference "$1" "$2")
    [ -n "$worst" ] && [ "$worst" != none ] && is_at_most "$worst" "$3"
}

# difference A B - of the losses of two runs, by their folders.
difference() {
    losses "$1" >"$work/a.losses" && losses "$2" >"$work/b.losses" && worst_difference "$work/a.losses" "$work/b.losses"
}

# adapt BASE - from here on $tiny trains an adapter of rank 4 on that model.
adapt() {
    sed '/^model:/,/^data:/{/^data:/!d}' "$tiny" >"$work/adapter.yaml"
    cat >>"$work/adapter.yaml" <<END

model:
  path: $1

adapter:
  method: lora
  rank: 4
  alpha: 8
END
    tiny=$work/adapter.yaml
}

# is_at_most A B - of two real numbers.
is_at_most() {
    awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 <= b + 0) }'
}

# json_number KEY FILE - the first "KEY": number in a JSON text; for the flat things that the program writes.
json_number() {
    sed -n "s/.*\"$1\": *\\(-\\{0,1\\}[0-9][0-9.eE+-]*\\).*/\\1/p" "$2" | head -n 1
}

# expect_complete FOLDER STEP - the run folder's latest checkpoint is of this step, and all its bytes are as written.
expect_complete() {
    expect "latest checkpoint of '$1'" "$(printf 'step-%06d' "$2")" "$(cat "$1/latest")"
    "$atelier" inspect "$1/$(cat "$1/latest")" --verify >"$work/verify.log" 2>&1 ||
        fail "the checkpoint '$1/$(cat "$1/latest")' is damaged: $(tail -n 1 "$work/verify.log")"
}

# --- processes ---

# own_processes - all that run for this scenario: mpirun and ranks carry its folder in their arguments.
own_processes() {
    here=$(pwd -P)
    grep -lF -f "$work/mark" /proc/[0-9]*/cmdline 2>/dev/null | sed 's|/proc/\([0-9]*\)/.*|\1|' | while read -r pid; do
        case $(readlink "/proc/$pid/cwd")/ in
        "$here"/*) echo "$pid" ;; # the same scenario of another checkout has the same marks
        esac
    done
}

# rank_process RANK - the process of a rank under mpirun; empty where there is none.
rank_process() {
    for pid in $(own_processes); do
        if tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qx "OMPI_COMM_WORLD_RANK=$1"; then
            echo "$pid"
            return
        fi
    done
}

# expect_no_process - no rank is left behind, a moment after the run's end.
expect_no_process() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -n "$(own_processes)" ] || return 0
        sleep 0.1
    done
    fail "processes are left: $(own_processes | tr '\n' ' ')"
}
