#!/bin/sh
# check_sm70.sh - every kernel compiled for V100 (sm_70) without nvcc: CUDA 13 does not know that GPU any more, and CUDA 12's
# compiler and assembler are Python packages (tests/light_venv.sh).  No instruction that it lacks, and registers, stack, shared
# memory and spills as kernels/cuda/BUDGETS_SM70 says.
#   check_sm70.sh            check
#   check_sm70.sh --write    print a new BUDGETS_SM70, for review
#   check_sm70.sh --ptx FOLDER [NAME...]  compile these kernels alone (all of them), and put their texts there as NAME.sm_70.ptx,
#                            for the interpreter (tests/check_ptx.sh)
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

if [ "${1:-}" = --ptx ]; then
    texts=$2
    shift 2
    names="$*"
fi
# wanted NAME - whether it is asked for.  stale NAME - whether it is older than its source, a header, or the compiler's script.
headers=$(find kernels tests/sm70 -type f \( -name '*.cuh' -o -name '*.h' -o -name '*.py' \))
wanted() { test -z "${names:-}" || case " $names " in *" $1 "*) ;; *) false ;; esac }
stale() {
    # shellcheck disable=SC2086
    test ! -e "$out/kernels/$1.ptxas" || test -n "$(find kernels/cuda/$1.cu $headers -newer "$out/kernels/$1.ptxas" | head -n 1)"
}

mkdir -p "$out/kernels" || exit 1
stale=
for file in $files; do
    name=$(basename "$file" .cu)
    if wanted "$name" && stale "$name"; then stale="$stale $file"; fi
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
if [ -n "${texts:-}" ]; then
    mkdir -p "$texts" || exit 1
    for file in $files; do
        name=$(basename "$file" .cu)
        text=$texts/$name.sm_70.ptx
        wanted "$name" || continue
        cmp -s "$out/kernels/$name.ptx" "$text" || cp "$out/kernels/$name.ptx" "$text" || exit 1
    done
    exit 0
fi
export CUDA_OUT="$out" BUDGETS=kernels/cuda/BUDGETS_SM70 RELEASE="nvrtc $release" ARCH=sm_70
case ${1:-} in
--write) exec tests/check_budgets.sh --write ;;
*) exec tests/check_budgets.sh ;;
esac
