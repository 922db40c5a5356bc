#!/bin/sh
# check_ptx.sh - the kernels as nvcc compiled them, executed by the interpreter of tests/ptx, against references in f64.
#   check_ptx.sh         a sample: the files of tests/ptx/sample, which 'make check' compiles
#   check_ptx.sh --can-run   whether there is a Python that can
#   check_ptx.sh --all   every case; 'make ptx' compiles the files and calls this
# PTX_OUT: where the PTX is.  PYTHON: one that has numpy.
cd "$(dirname "$0")/.." || exit 1
folder=${PTX_OUT:-build/ptx}

for python in "${PYTHON:-python3}" .venv-light/bin/python .venv-interop/bin/python; do
    "$python" -c 'import numpy' 2>/dev/null && found=$python && break
done
test -n "${found:-}" || { echo "no Python with numpy is found: set PYTHON"; exit 77; }
test "${1:-}" != --can-run || exit 0
while read -r name; do
    test -e "$folder/$name.ptx" || { echo "'$folder/$name.ptx' is not there: nvcc makes it (make ptx)"; exit 77; }
done <tests/ptx/sample
test "${1:-}" = --all || set -- --fast
test "$1" = --all && shift
exec "$found" tests/ptx/run.py "$@" "$folder"
