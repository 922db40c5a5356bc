#!/bin/sh
# gpu_check.sh DIR - is what this machine's GPU computes right: every wrapper of an instruction, every operation against
# its f64 definition, whole models against transformers' results, a training run against the same run on the CPU, and
# that a step allocates nothing.  DIR: tree with atelier and tests/ (build/cuda), or a bundle's libexec.
# One line per check, the output of failures, a summary; ends with 0, 1, or 77 where there is no GPU.
#   PARTS="ops train"   what is checked (default: both)
#   SMALL=1             fewer steps, for the kernels' stand-in on the host
set -u
programs=$(cd "${1:?usage: gpu_check.sh DIR}" && pwd)
cd "$(dirname "$0")/../.." || exit 1
tests=$programs/tests
test -d "$tests" || tests=$programs
passed=0 failed=0 skipped=0
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"

# start PROGRAM ARGUMENTS... - inside a bundle by the loader that it chose, with its libraries.
start() {
    program=$1
    shift
    if [ -n "${ATELIER_LOADER:-}" ]; then
        "$ATELIER_LOADER" --library-path "$ATELIER_LIBRARIES" "$program" "$@"
    else
        "$program" "$@"
    fi
}

# check TITLE COMMAND...
check() {
    title=$1
    shift
    "$@" >"$work/log" 2>&1
    code=$?
    case $code in
    0) passed=$((passed + 1)) && echo "ok      $title" ;;
    77) skipped=$((skipped + 1)) && echo "skipped $title: $(tail -n 1 "$work/log")" ;;
    *)
        failed=$((failed + 1))
        echo "FAILED  $title (exit code $code)"
        tail -n "${LOG_LINES:-40}" "$work/log" | sed 's/^/    /'
        ;;
    esac
}

# train NAME DEVICE TYPE - some steps of the sample model; its losses go to NAME.losses, one a line.
train() {
    start "$programs/atelier" train configs/demo.yaml --set run.folder="$work/$1" --set run.device="$2" \
        --set train.compute="$3" --set data.train="$work/demo.h5" --set data.valid=[] --set train.steps="$steps" \
        --set train.batch_sequences="$batch" --set train.micro_sequences="$batch" \
        --set data.sequence_tokens="$sequence" --set schedule.warmup_steps=2 --set checkpoint.resume=never || return 1
    sed -n 's/.*"loss": *\([0-9.e+-]*\),.*"grad_norm".*/\1/p' "$work/$1/metrics.jsonl" >"$work/$1.losses"
    test "$(wc -l <"$work/$1.losses")" -eq "$steps"
}

# near A B BOUND - every loss of run A within a share BOUND of B's.
near() {
    paste "$work/$1.losses" "$work/$2.losses" | awk -v bound="$3" '
        { off = ($1 - $2) / $2; off = off < 0 ? -off : off; if (off > worst || off != off) { worst = off; at = NR } }
        END { printf "largest difference %.3g at step %d, allowed %g\n", worst, at, bound; exit !(NR > 0 && worst <= bound) }'
}

# parity TYPE BOUND - the same run on both devices.  Control: the run of another type is not that near.
parity() {
    train "gpu_$1" cuda "$1" && train "cpu_$1" cpu "$1" && near "gpu_$1" "cpu_$1" "$2" || return 1
    near "gpu_$1" "cpu_$1" "$2" >>"$work/parity"
}
control() { test -s "$work/gpu_bf16.losses" && test -s "$work/cpu_f32.losses" && ! near gpu_bf16 cpu_f32 1e-5; }

start "$tests/gpu_bench" --list >"$work/log" 2>&1
code=$?
if [ $code -eq 77 ]; then
    tail -n 1 "$work/log"
    exit 77
elif [ $code -ne 0 ]; then
    cat "$work/log"
    exit 1
fi
cat "$work/log"

wanted() { case " ${PARTS:-ops train} " in *" $1 "*) ;; *) false ;; esac }

check_operations() {
    if [ -e "$tests/conformance" ]; then
        check "instructions behave as the host's stand-in says" start "$tests/conformance"
    fi
    check "device memory, update, sums, casts" start "$tests/test_device"
    check "operations of a layer" start "$tests/test_ops"
    check "attention" start "$tests/test_attention"
    check "models against transformers' results" start "$tests/test_model"
}

check_training() {
    steps=20 batch=8 sequence=512
    if [ -n "${SMALL:-}" ]; then steps=3 batch=2 sequence=32; fi
    check "a step allocates nothing" start "$tests/gpu_bench" --memory
    check "token file of the sample" start "$programs/atelier" prepare configs/demo.yaml --set prepare.output="$work/demo.h5"
    check "losses in f32 as on the CPU, within 1e-4" parity f32 1e-4
    check "losses in bf16 as on the CPU, within 1e-2" parity bf16 1e-2
    check "the comparison notices another type" control
    sed 's/^/        /' "$work/parity" 2>/dev/null
}

export ATELIER_TEST_DEVICE=cuda
if wanted ops; then check_operations; fi
if wanted train; then check_training; fi
echo "$passed passed, $failed failed, $skipped skipped"
test $failed -eq 0
