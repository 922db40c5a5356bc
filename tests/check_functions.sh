#!/bin/sh
# check_functions.sh - fail on a function of more than 100 lines, a file of more than 500, or more functions with over six
# parameters than there were; list functions over 60 lines.  Kernels count too.
# needs universal-ctags
cd "$(dirname "$0")/.." || exit 1
most_wide=51 # functions with more than six parameters: ops take their operands one by one.  It may only fall.
if ! ctags --version 2>/dev/null | grep -q 'Universal Ctags'; then
    echo "universal-ctags is not installed"
    exit 77
fi
files=$(find kernels data checkpoints configs slurm train tests -name '*.[ch]' -o -name '*.inc' -o -name '*.cu' -o -name '*.cuh')
# A line each: name|file|first line|last line|(parameters).  Without a line for the end ctags only saw a declaration.
# shellcheck disable=SC2086
functions=$(ctags -x --_xformat='%N|%F|%n|%e|%S' --kinds-C=f --kinds-C++=f --languages=C,C++ \
    --langmap=C:.c.h.inc --langmap=C++:.cpp.cu.cuh $files 2>/dev/null | awk -F'|' '$4 > 0')
status=0
lengths=$(printf '%s\n' "$functions" | awk -F'|' '{ print $4 - $3 + 1, $2 ":" $3, $1 }' | sort -rn)
long=$(printf '%s\n' "$lengths" | awk '$1 > 60')
[ -z "$long" ] || {
    echo "functions over 60 lines (review them):"
    printf '%s\n' "$long" | sed 's/^/    /'
}
printf '%s\n' "$lengths" | awk '$1 > 100 { bad = 1 } END { exit bad }' || {
    echo "functions over 100 lines: cut them"
    status=1
}
wide=$(printf '%s\n' "$functions" | grep -v '^[^|]*|tests/' | awk -F'|' '{ n = gsub(/,/, ",", $5) + 1; if (n > 6) print n, $2 ":" $3, $1 }' | sort -rn)
num_wide=$(printf '%s\n' "$wide" | grep -c .)
[ "$num_wide" -le "$most_wide" ] || {
    echo "$num_wide functions have more than six parameters, at most $most_wide did: pass a struct instead"
    printf '%s\n' "$wide" | sed 's/^/    /'
    status=1
}
printf '%s\n' "$lengths" | awk '{ length_of[NR] = $1 } END { print NR " functions, median " length_of[int((NR + 1) / 2)] " lines" }'
# shellcheck disable=SC2086
big=$(wc -l $files | awk '$2 != "total" && $1 > 500')
[ -z "$big" ] || {
    echo "files over 500 lines: cut them"
    printf '%s\n' "$big" | sed 's/^/    /'
    status=1
}
exit $status
