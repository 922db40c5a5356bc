#!/bin/sh
# check_ptx.sh - the kernels as nvcc compiled them, executed by the interpreter of tests/ptx, against references in f64.
#   check_ptx.sh         a sample: the files of tests/ptx/sample, which 'make check' compiles
#   check_ptx.sh --can-run   whether there is a Python that can
#   check_ptx.sh --all [options of run.py]   every case; 'make ptx' compiles the files and calls this.  What passed is kept in
#                        passed, beside the PTX: a run that was cut goes on from there, and executes what changed since
# PTX_OUT: where the PTX is.  PYTHON: one that has numpy.
cd "$(dirname "$0")/.." || exit 1
folder=${PTX_OUT:-build/ptx}

for python in "${PYTHON:-python3}" .venv-light/bin/python .venv-interop/bin/python; do
    "$python" -c 'import numpy' 2>/dev/null && found=$python && break
done
test -n "${found:-}" || { echo "no Python with numpy is found: set PYTHON"; exit 77; }

# there NAME - its text, or the reason why there is none.
there() { test -e "$folder/$1.ptx" || { echo "'$folder/$1.ptx' is not there: nvcc makes it (make ptx)"; exit 77; }; }
case ${1:-} in
--can-run) exit 0 ;;
--all)
    shift
    there fixed.sm_80
    exec "$found" tests/ptx/run.py --record "$folder/passed" "$@" "$folder"
    ;;
esac
while read -r name; do
    case $name in *.sm_70) continue ;; esac # the compiler of CUDA 12 makes it, where that is
    there "$name"
done <tests/ptx/sample
exec "$found" tests/ptx/run.py --fast "$@" "$folder"
