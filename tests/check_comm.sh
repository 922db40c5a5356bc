#!/bin/sh
# check_comm.sh - a rank that never comes must not hang the others, and an error is told once
# needs test_ranks_comm, built in $OUT/tests
# shellcheck source=configs/ranks.sh
. "$(dirname "$0")/../configs/ranks.sh"
program=${OUT:-build/cpu}/tests/test_ranks_comm
test -x "$program" || { echo "'$program' is not built"; exit 77; }
log=$(mktemp) && trap 'rm -f "$log"' EXIT
fail() { echo "$1; its output:"; sed 's/^/    /' "$log"; exit 1; }

for way in memory messages; do
    timeout -k 5 30 mpirun -n 3 "$program" absent $way >"$log" 2>&1
    code=$?
    test $code -ne 0 || fail "with an absent rank the program ended as if all was well ($way)"
    test $code -ne 124 || fail "with an absent rank the program hangs ($way)"
    grep -Eq "^\[rank [02]/3 .* step 12\] fatal: waited 1\.[0-9]* s for rank 1 \([^)]*\) in 'sum', while starting: .*" "$log" ||
        fail "the message about the absent rank is missing ($way)"
done

# what ranks of one host add, they add in groups of eight
timeout -k 5 60 mpirun -n 11 "$program" >"$log" 2>&1 || fail "exchanges of eleven ranks"
timeout -k 5 60 mpirun -n 11 "${program%_comm}_transport" >"$log" 2>&1 || fail "sums of integers of eleven ranks"

timeout -k 5 30 mpirun -n 4 "$program" fails >"$log" 2>&1
test $? -eq 2 || fail "a reported error must end with code 2"
test "$(grep -c 'error: cannot open' "$log")" -eq 1 || fail "the error must be told once"
grep -q "^error: cannot open 'x1' (on rank 1; 2 of 4 ranks failed)$" "$log" || fail "the error's text is wrong"

timeout -k 5 30 mpirun -n 3 "$program" differs >"$log" 2>&1
code=$?
test $code -ne 0 || fail "with another size on one rank the program ended as if all was well"
test $code -ne 124 || fail "with another size on one rank the program hangs"
grep -Eq "rank [02] of 3 brings (32|64) bytes to the all-gather where this rank brings (32|64)" "$log" ||
    fail "the message about the size is missing"
