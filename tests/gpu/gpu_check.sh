#!/bin/sh
# gpu_check.sh DIR [PART...] - is what this machine's GPU computes right.  Parts, all of them by default:
#   ops        wrappers of instructions, device memory, update, every operation of a layer against its f64 definition
#   attention  the same for attention; takes longest
#   model      whole models against transformers' results
#   train      a training run against the same on the CPU; that a step allocates nothing
#   ranks      NCCL on as many GPUs as there are, two ranks on one GPU, atelier doctor
# DIR: tree with atelier and tests/ (build/cuda), or a bundle's libexec.
# One line per check, the output of failures, a summary; ends with 0, 1, or 77 where there is no GPU.  A part that takes longer
# than limits.sh says is cut, and the next one begins: its checks have failed.
#   SMALL=1  fewer steps and no rates, for the kernels' stand-in on the host
#   LIMIT_S  see limits.sh
set -u
programs=$(cd "${1:?usage: gpu_check.sh DIR [PART...]}" && pwd)
shift
parts=${*:-ops attention model train ranks}
for part in $parts; do
    case $part in
    ops | attention | model | train | ranks) ;;
    *) echo "gpu-check: there is no part '$part', only: ops attention model train ranks" >&2 && exit 2 ;;
    esac
done
cd "$(dirname "$0")/../.." || exit 1
tests=$programs/tests
test -d "$tests" || tests=$programs
passed=0 failed=0 skipped=0 failures=
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME="$work/cache" # choices of matrix products are of this run alone
# shellcheck source=configs/ranks.sh
. configs/ranks.sh
# shellcheck source=tests/gpu/limits.sh
. tests/gpu/limits.sh
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"

# start PROGRAM ARGUMENTS... - inside a bundle by the loader that it chose, with its libraries.
# start_ranks N PROGRAM ARGUMENTS... - the same on N ranks.
start() {
    if [ -n "${ATELIER_LOADER:-}" ]; then
        limited "$ATELIER_LOADER" --library-path "$ATELIER_LIBRARIES" "$@"
    else
        limited "$@"
    fi
}
start_ranks() {
    command -v mpirun >/dev/null || { echo "mpirun is not on PATH" && return 77; }
    num_ranks=$1
    shift
    if [ -n "${ATELIER_LOADER:-}" ]; then
        limited mpirun --bind-to none -n "$num_ranks" \
            "$ATELIER_LOADER" --library-path "$ATELIER_LIBRARIES" "$@"
    else
        limited mpirun --bind-to none -n "$num_ranks" "$@"
    fi
}

# check TITLE COMMAND...
check() {
    title=$1
    shift
    since=$(date +%s)
    "$@" >"$work/log" 2>&1
    code=$?
    took="$(($(date +%s) - since)) s"
    case $code in
    0) passed=$((passed + 1)) && echo "ok      $title ($took)" ;;
    124 | 137)
        failed=$((failed + 1))
        failures="$failures; $title"
        echo "FAILED  $title: cut after $took, for the part '$part' has $part_limit s (LIMIT_S: others)"
        ;;
    77) skipped=$((skipped + 1)) && echo "skipped $title: $(tail -n 1 "$work/log")" ;;
    *)
        failed=$((failed + 1))
        failures="$failures; $title"
        echo "FAILED  $title (exit code $code, $took)"
        tail -n "${LOG_LINES:-40}" "$work/log" | sed 's/^/    /'
        ;;
    esac
}
# tell - what the check before said, where that is worth reading after a success.
tell() { test "$code" -ne 0 || sed 's/^/        /' "$work/log"; }

# train NAME RANKS SETTINGS... - some steps of the sample model; its losses go to NAME.losses, one a line.
train() {
    name=$1 ranks=$2
    shift 2
    test "$ranks" -eq 1 && how=start || how="start_ranks $ranks"
    $how "$programs/atelier" train configs/demo.yaml --set run.folder="$work/$name" --set data.train="$work/demo.h5" \
        --set data.valid=[] --set train.steps="$steps" --set train.batch_sequences="$batch" \
        --set train.micro_sequences=$((batch / ranks)) --set data.sequence_tokens="$sequence" \
        --set schedule.warmup_steps=1 --set checkpoint.resume=never "$@" >"$work/train_log" 2>&1
    trained=$?
    test $trained -eq 0 || { cat "$work/train_log" && return $trained; }
    sed -n 's/.*"loss": *\([0-9.e+-]*\),.*"grad_norm".*/\1/p' "$work/$name/metrics.jsonl" >"$work/$name.losses"
    test "$(wc -l <"$work/$name.losses")" -eq "$steps"
}

# near A B BOUND - every loss of run A within a share BOUND of B's.
near() {
    paste "$work/$1.losses" "$work/$2.losses" | awk -v bound="$3" '
        { off = ($1 - $2) / $2; off = off < 0 ? -off : off; if (off > worst || off != off) { worst = off; at = NR } }
        END { printf "largest difference %.3g at step %d, allowed %g\n", worst, at, bound; exit !(NR > 0 && worst <= bound) }'
}

# parity TYPE BOUND - the same run on both devices.  Control: the run of another type is not that near.
parity() {
    train "gpu_$1" 1 --set run.device=cuda --set train.compute="$1" &&
        train "cpu_$1" 1 --set run.device=cpu --set train.compute="$1" && near "gpu_$1" "cpu_$1" "$2"
}
control() {
    test -s "$work/gpu_bf16.losses" && test -s "$work/cpu_f32.losses" && ! near gpu_bf16 cpu_f32 1e-5
}

# shared - two ranks on one GPU, through the host's memory, against one rank.
shared() (
    visible=${CUDA_VISIBLE_DEVICES:-0}
    export CUDA_VISIBLE_DEVICES="${visible%%,*}"
    train shared 2 --set run.device=cuda --set train.compute=f32 --set parallel.comm=mpi --set parallel.stage=3 &&
        near shared gpu_f32 1e-5
)

# gpus - how many this process sees, at most 8.
gpus() { sed -n 's/^GPUs: //p' "$work/gpus" | awk '{ print ($1 > 8 ? 8 : $1) }'; }

doctor() {
    test -z "${SMALL:-}" || { echo "its products would keep the stand-in busy for minutes" && return 77; }
    start_ranks "$(gpus)" "$programs/atelier" doctor --folder "$work"
}

sample() {
    test -e "$work/demo.h5" && return
    check "token file of the sample" start "$programs/atelier" prepare configs/demo.yaml \
        --set prepare.output="$work/demo.h5"
}

check_ops() {
    check "instructions behave as the host's stand-in says" start "$tests/conformance"
    check "device memory, update, sums, casts" start "$tests/test_device"
    check "weights in fewer bits" start "$tests/test_packed"
    check "operations of a layer" start "$tests/test_ops"
    check "norms of rows" start "$tests/test_ops_norm"
    check "QK-norm with the rotation" start "$tests/test_ops_qk_norm"
    check "columns taken out and put back" start "$tests/test_ops_columns"
    check "an activation with values of its own" start "$tests/test_ops_xielu"
    check "the distance from a teacher" start "$tests/test_ops_distill"
    check "rows to experts and back" start "$tests/test_experts"
    check "routers whose scores are sigmoids" start "$tests/test_route_sigmoid"
    check "experts' biases, gates within limits, counts of routers" start "$tests/test_experts_parts"
    check "products in 8 bits" start "$tests/test_ops_fp8"
    check "products in 8 bits with scales of blocks" start "$tests/test_ops_fp8_blocks"
    check "sums as integers" start "$tests/test_exact"
}
check_attention() {
    check "attention" start "$tests/test_attention"
    check "what the mask of attention promises" start "$tests/test_attention_mask"
    check "sinks of attention" start "$tests/test_ops_sinks"
}
check_model() {
    check "models against transformers' results" start "$tests/test_model"
    check "models with experts against transformers' results" start "$tests/test_model_routers"
    check "losses of routers against transformers' results" start "$tests/test_router"
    check "bias and low-rank pairs of a product" start "$tests/test_linear_seam"
    check "everything that a layer plan can say" start "$tests/test_layer_plan"
    check "objectives" start "$tests/test_objectives"
    check "steps with products in 8 bits as on the CPU" start "$tests/test_fp8_step"
}
check_train() {
    sample
    check "a step allocates nothing" start "$tests/gpu_bench" --memory
    check "losses in f32 as on the CPU, within 1e-4" parity f32 1e-4 && tell
    check "losses in bf16 as on the CPU, within 1e-2" parity bf16 1e-2 && tell
    check "the comparison notices another type" control
}
check_ranks() {
    sample
    check "NCCL alone, transfers through the host" start "$tests/gpu_nccl"
    test "$(gpus)" -lt 2 || check "NCCL between $(gpus) GPUs" start_ranks "$(gpus)" "$tests/gpu_nccl"
    test -s "$work/gpu_f32.losses" ||
        check "a run in f32" train gpu_f32 1 --set run.device=cuda --set train.compute=f32
    check "losses of two ranks on one GPU as of one rank, within 1e-5" shared && tell
    check "doctor" doctor && tell
}

test -e "$tests/gpu_bench" || { echo "no GPU: these programs were built without CUDA" && exit 77; }
begin_part ops
start "$tests/gpu_bench" --list >"$work/gpus" 2>&1
code=$?
cat "$work/gpus"
test $code -ne 77 || exit 77
test $code -eq 0 || exit 1
steps=20 batch=8 sequence=512
if [ -n "${SMALL:-}" ]; then steps=2 batch=2 sequence=16; fi
export ATELIER_TEST_DEVICE=cuda
for part in $parts; do
    begin_part "$part"
    "check_$part"
done
test $failed -eq 0 || echo "failed: ${failures#; }"
echo "$passed passed, $failed failed, $skipped skipped"
test $failed -eq 0
