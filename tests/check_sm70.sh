#!/bin/sh
# check_sm70.sh - every kernel compiled for V100 (sm_70) without nvcc: CUDA 13 does not know that GPU any more, and CUDA 12's
# compiler and assembler are Python packages (tests/light_venv.sh).  No instruction that it lacks, and registers, stack, shared
# memory and spills as kernels/cuda/BUDGETS_SM70 says.
#   check_sm70.sh            check
#   check_sm70.sh --write    print a new BUDGETS_SM70, for review
# ATELIER_SM70_VENV: the environment (.venv-sm70).  SM70_OUT: where the reports go (build/sm70).
cd "$(dirname "$0")/.." || exit 1
out=${SM70_OUT:-build/sm70}
for packages in "${ATELIER_SM70_VENV:-.venv-sm70}"/lib/python3*/site-packages/nvidia; do
    test -x "$packages/cuda_nvcc/bin/ptxas" && test -d "$packages/cuda_nvrtc/lib" && found=$packages
done
test -n "${found:-}" || { echo "the compiler of CUDA 12 is not found: 'make test' fetches it (nvidia-cuda-nvrtc-cu12)"; exit 77; }
command -v python3 >/dev/null 2>&1 || { echo "python3 is not found: nothing can call the compiler"; exit 77; }
release=$(tests/sm70/compile.py --version "$found") || exit 1

# What the build compiles for sm_70: all but the files of later GPUs (Makefile).
# shellcheck disable=SC2016
ampere=$(sed -n 's/^AMPERE := $(addprefix \(.*\),\(.*\)).*/\1 \2/p' Makefile)
prefix=${ampere%% *}
files=
for file in kernels/cuda/*.cu; do
    case " ${ampere#* } " in *" ${file#"$prefix"} "*) continue ;; esac
    case $file in *_sm90.cu | */record.cu) continue ;; esac # of Hopper; the host's alone
    files="$files $file"
done

# Those that are older than a source, or than the compiler's script.
mkdir -p "$out/kernels" || exit 1
newest=$(find kernels tests/sm70 -type f \( -name '*.cuh' -o -name '*.h' -o -name '*.py' \) -newer "$out/complete" 2>/dev/null | head -n 1)
if ! [ -e "$out/complete" ] || [ -n "$newest" ]; then
    rm -f "$out"/kernels/*.ptxas
fi
stale=
for file in $files; do
    report=$out/kernels/$(basename "$file" .cu).ptxas
    test "$report" -nt "$file" || stale="$stale $file"
done
if [ -n "$stale" ]; then
    # shellcheck disable=SC2086
    tests/sm70/compile.py "$found" "$out/kernels" $stale || exit 1
    # The control: asynchronous copies are none of its instructions.
    if tests/sm70/compile.py "$found" "$out" kernels/cuda/attention_forward.cu 2>"$out/refused" ||
        ! grep -q "cp.async.*requires .target sm_80" "$out/refused"; then
        echo "the assembler took cp.async for sm_70"
        exit 1
    fi
fi
touch "$out/complete"
export CUDA_OUT="$out" BUDGETS=kernels/cuda/BUDGETS_SM70 RELEASE="nvrtc $release" ARCH=sm_70
case ${1:-} in
--write) exec tests/check_budgets.sh --write ;;
*) exec tests/check_budgets.sh ;;
esac
