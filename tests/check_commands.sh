#!/bin/sh
# check_commands.sh - every command of the program: its help, and one line and exit code 2 for words it does not take
# OUT: the folder of the build.
cd "$(dirname "$0")/.." || exit 1
atelier=${OUT:-build/cpu}/atelier
[ -x "$atelier" ] || {
    echo "'$atelier' is not built"
    exit 77
}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
status=0
complain() {
    echo "atelier $1: $2"
    status=1
}
# refused WHAT PATTERN WORD... - one line on standard error that says PATTERN, nothing on standard output, exit code 2.
refused() {
    what=$1 pattern=$2
    shift 2
    "$atelier" "$@" >"$work/out" 2>"$work/err"
    code=$?
    [ $code = 2 ] || complain "$*" "exit code $code, 2 was expected"
    [ "$(wc -l <"$work/err")" = 1 ] || complain "$*" "$what: $(wc -l <"$work/err") lines in place of one"
    [ -s "$work/out" ] && complain "$*" "$what: words on standard output"
    grep -q -- "$pattern" "$work/err" || complain "$*" "'$(cat "$work/err")' does not say '$pattern'"
}
commands=$("$atelier" help | sed -n 's/^  atelier \([a-z]*\) .*/\1/p' | sort -u)
[ "$(echo "$commands" | wc -w)" = "$(find train/commands -name 'cmd_*.c' | wc -l)" ] ||
    complain help "lists other commands than there are files train/commands/cmd_*.c"
for command in $commands; do
    "$atelier" "$command" --help >"$work/help" 2>&1 || complain "$command --help" "exit code $?"
    "$atelier" help "$command" | cmp -s - "$work/help" || complain "$command --help" "is not 'atelier help $command'"
    head -1 "$work/help" | grep -q "^usage: atelier $command" || complain "$command --help" "does not begin with its usage"
    refused "an unknown option" 'unknown option\|is expected before' "$command" --no-such-option
    ! grep -q -- --set "$work/help" || refused "--set without a value" "--set needs a value: --set KEY=VALUE" "$command" c --set
    ! grep -q '^  CONFIG' "$work/help" || refused "nothing" "CONFIG is missing" "$command"
done
refused "a command that is not there" "did you mean 'train'" trian
refused "two words" "one argument too many" train a b
# The control: what is right is not refused.
(refused "a help" "usage" help >/dev/null; exit $status) && complain control "a command that works counts as refused"
exit $status
