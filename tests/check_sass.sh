#!/usr/bin/env bash
# check_sass.sh - what the machine code of every CUDA kernel says, against kernels/cuda/SASS: accesses of 128 bits stay that
# wide, none is split, no subroutine is called and no local memory used where none was, no wgmma group is added or lost, no
# main loop grows.  What it says of a change of the compiler's is for a person to judge ('make sass' writes the table anew).
#   check_sass.sh            check (and check that doctored rows are noticed)
#   check_sass.sh --write    print a new SASS, for review
# CUDA_OUT: where the objects are.  CUOBJDUMP: the tool, where it is neither on the PATH, nor beside nvcc, nor among the
# Python packages of the tests (tests/light_venv.sh).
set -o pipefail
cd "$(dirname "$0")/.." || exit 1
objects=${CUDA_OUT:-build/cuda}/kernels
table=kernels/cuda/SASS
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

for tool in "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" nvcc /usr/local/cuda/bin/nvcc; do # as the Makefile
    command -v "$tool" >/dev/null 2>&1 && nvcc=$tool && break
done
test -n "${nvcc:-}" || { echo "nvcc is not found: there are no CUDA kernels to look at"; exit 77; }
for tool in "${CUOBJDUMP:-cuobjdump}" "$(dirname "$(command -v "$nvcc")")/cuobjdump" \
    "${ATELIER_VENV:-.venv-light}"/lib/python3*/site-packages/nvidia/cu*/bin/cuobjdump \
    "${ATELIER_VENV:-.venv-light}"/lib/python3*/site-packages/triton/backends/nvidia/bin/cuobjdump; do
    command -v "$tool" >/dev/null 2>&1 && cuobjdump=$tool && break
done
test -n "${cuobjdump:-}" || { echo "cuobjdump is not found: the machine code cannot be read"; exit 77; }
command -v python3 >/dev/null 2>&1 || { echo "python3 is not found: the machine code cannot be counted"; exit 77; }
find "$objects" -name '*.cu.o' 2>/dev/null | sort >"$work/objects"
test -s "$work/objects" || { echo "'$objects' holds no kernel: 'make cuda' makes them"; exit 77; }
release=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
PATH=$(dirname "$(command -v "$cuobjdump")"):$PATH # it calls nvdisasm, which lies beside it

# rows - of all objects, sorted.  Those of an object stay beside it, for reading machine code takes half a minute in all.
rows() {
    while read -r object; do
        rows=${object%.o}.sass
        if [ ! -e "$rows" ] || [ "$object" -nt "$rows" ] || [ tests/sass_table.py -nt "$rows" ]; then
            "$cuobjdump" -sass "$object" >"$work/listing" || return 1
            tests/sass_table.py <"$work/listing" >"$rows.part" || return 1
            mv "$rows.part" "$rows"
        fi
        cat "$rows"
    done <"$work/objects" | LC_ALL=C sort -u
}

# check ROWS - print every complaint about them.
check() {
    awk -v same_release="$(grep -c "^# nvcc $release$" $table)" '
        function least(column, what) {
            if ($column < was[column]) print $1, "has", $column, what, "on", $2 ", where there were", was[column]
        }
        function most(column, what) {
            if ($column > was[column]) print $1, "has", $column, what, "on", $2 ", where there were", was[column]
        }
        FNR == NR { if ($0 !~ /^#/ && NF) row[$1 " " $2] = $0; next }
        { key = $1 " " $2; seen[key] = 1 }
        !(key in row) { print $1, "has no row for", $2; next }
        {
            split(row[key], was, " ")
            least(3, "loads of 128 bits")
            least(4, "stores of 128 bits")
            most(5, "narrower stores")
            most(6, "calls")
            most(7, "accesses to local memory")
            if ($8 != was[8]) print $1, "has", $8, "wgmma groups on", $2 ", where there were", was[8]
            most(9, "late exponentials")
            # Another release of nvcc makes loops of other lengths.
            if (same_release) most(10, "instructions in its main loop")
        }
        END { for (key in row) if (!(key in seen)) print key, "is in the table, and in no object" }' $table "$1"
}

# noticed COMPLAINT COLUMN BY - a number of the table's first row in which it is not 0, changed in the rows by BY, must
# lead to that complaint.  COLUMN 1: the kernel's name.
noticed() {
    awk -v column="$2" -v by="$3" '
        !done && column == 1 { $1 = $1 "X"; done = 1 }
        !done && column > 1 && $column + by >= 0 { $column += by; done = 1 }
        { print }' "$work/rows" >"$work/doctored"
    cmp -s "$work/rows" "$work/doctored" && echo "the control '$1' changed nothing" && return
    check "$work/doctored" >"$work/complaints"
    grep -q "$1" "$work/complaints" || echo "rows with '$1' were not noticed"
}

rows >"$work/rows" || exit 1
if [ "${1:-}" = --write ]; then
    cat <<END
# SASS - what the machine code of each CUDA kernel says; tests/check_sass.sh compares it with that of the objects.
# Written by 'make sass' and reviewed.  More is worse in every column but the loads and stores of 128 bits, whose number
# may not fall; a wgmma group more or less is another algorithm.
#   loads, stores    of 128 bits from and to global memory
#   narrow           stores to global memory of fewer bits
#   calls            of subroutines: divisions and roots of IEEE, divisions of integers of 64 bits
#   local            accesses to local memory
#   groups           of wgmma, committed
#   late             exponentials of the main loop after its wait for all products: beside them, tensor cores stand still
#   loop             instructions of the main loop, or of the whole kernel where there is no loop
# nvcc $release
# kernel architecture loads stores narrow calls local groups late loop
END
    cat "$work/rows"
    exit 0
fi

test -e $table || { echo "'$table' is missing"; exit 1; }
check "$work/rows" >"$work/complaints"
cat "$work/complaints"
test -s "$work/complaints" && exit 1
{
    noticed 'has no row' 1 0
    noticed 'in no object' 1 0
    noticed 'loads of 128 bits' 3 -1
    noticed 'stores of 128 bits' 4 -1
    noticed 'narrower stores' 5 1
    noticed 'calls' 6 1
    noticed 'local memory' 7 1
    noticed 'wgmma groups' 8 -1
    noticed 'late exponentials' 9 1
    if grep -q "^# nvcc $release$" $table; then
        noticed 'instructions in its main loop' 10 1
    fi
} >"$work/controls"
cat "$work/controls"
test ! -s "$work/controls" || exit 1
grep -q "^# nvcc $release$" $table ||
    echo "this is nvcc $release, lengths of loops are for $(sed -n 's/^# \(nvcc .*\)/\1/p' $table)"
