#!/bin/sh
# scenario_prune.sh - a checkpoint that should go and holds a file marked immutable (chattr +i): it stays whole under its own
# name, is told once in a run, and goes when it may.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario prune
prepare_sample
old=$work/run/step-000002
free_old() {
    set -- $? # how the scenario ended is what end_scenario asks for
    chattr -i "$old"/* 2>/dev/null
    return "$1"
}
trap 'free_old; end_scenario' EXIT

go() { # LAST_STEP
    train 0 0 "$work/run" --set "train.steps=$1" --set checkpoint.every_steps=1 --set checkpoint.keep=1 --set data.valid=null
}
go 2
touch "$work/try"
chattr +i "$work/try" 2>/dev/null || skip "this file system or user knows no immutable files"
chattr -i "$work/try"
ls -R "$old" >"$work/before"

chattr +i "$old/tokenizer.json"
go 7
expect "warnings of one that cannot go" 1 "$(grep -c "warning: an old checkpoint stays: cannot remove '$old'" "$log")"
ls -R "$old" >"$work/after"
cmp -s "$work/before" "$work/after" || fail "something of the protected checkpoint is gone"
expect "what is left" "step-000002 step-000007 " "$(cd "$work/run" && echo step-* | tr '\n' ' ')"
go 8
expect "warnings of the next start" 1 "$(grep -c 'warning: an old checkpoint stays' "$log")"

free_old # control: once it may, it goes
go 9
expect "what is left" "step-000009 " "$(cd "$work/run" && echo step-* | tr '\n' ' ')"
if grep -q 'an old checkpoint stays' "$log"; then
    fail "a checkpoint that went is said to stay"
fi
say "a checkpoint with an immutable file stays whole, is told once, and goes when it may"
