#!/bin/sh
# check_functions.sh - fail on a function of more than 100 lines or a file of more than 600; list functions over 60
# needs universal-ctags
cd "$(dirname "$0")/.." || exit 1
if ! ctags --version 2>/dev/null | grep -q 'Universal Ctags'; then
    echo "universal-ctags is not installed"
    exit 77
fi
files=$(find kernels data checkpoints train tests -name '*.[ch]' -o -name '*.inc')
# shellcheck disable=SC2086
functions=$(ctags -x --_xformat='%N %F %n %e' --kinds-C=f --languages=C --langmap=C:.c.h.inc $files |
    awk '{ print $4 - $3 + 1, $2 ":" $3, $1 }' | sort -rn)
status=0
long=$(printf '%s\n' "$functions" | awk '$1 > 60')
[ -z "$long" ] || {
    echo "functions over 60 lines (review them):"
    printf '%s\n' "$long" | sed 's/^/    /'
}
printf '%s\n' "$functions" | awk '$1 > 100 { bad = 1 } END { exit bad }' || {
    echo "functions over 100 lines: cut them"
    status=1
}
printf '%s\n' "$functions" | awk '{ length_of[NR] = $1 } END { print NR " functions, median " length_of[int((NR + 1) / 2)] " lines" }'
# shellcheck disable=SC2086
big=$(wc -l $files | awk '$2 != "total" && $1 > 600')
[ -z "$big" ] || {
    echo "files over 600 lines: cut them"
    printf '%s\n' "$big" | sed 's/^/    /'
    status=1
}
exit $status
