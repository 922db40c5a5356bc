#!/bin/sh
# check_ptx_record.sh - a run of the interpreter of PTX goes on where one before it was cut, and executes again what changed.
# PTX_OUT: where 'make check' put the PTX.
cd "$(dirname "$0")/.." || exit 1
text=${PTX_OUT:-build/ptx}/fixed.sm_80.ptx
test -e "$text" || { echo "'$text' is not there: nvcc makes it (make ptx)"; exit 77; }
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
cp "$text" "$work/"
fail() { echo "$1; its output:"; sed 's/^/    /' "$work/log"; exit 1; }
# run CASES EXECUTED - how many cases there are, and how many of them are executed.
run() {
    PTX_OUT=$work tests/check_ptx.sh --all --only "fixed" >"$work/log" 2>&1
    code=$?
    test $code -ne 77 || { cat "$work/log" && exit 77; }
    test $code -eq 0 || fail "the cases do not pass"
    grep -q "^$1 cases" "$work/log" || fail "there are not $1 cases"
    test "$(grep -c '^ok ' "$work/log")" -eq "$2" || fail "not $2 of the cases are executed"
}
run 8 8
run 8 0
sed -i '$d' "$work/passed" # as of a run that was cut
printf '["0123' >>"$work/passed"
run 8 1
run 8 0
echo "// changed" >>"$work/fixed.sm_80.ptx"
run 8 8
