#!/bin/sh
# scenario_streams.sh - a closed standard stream gives its number to no file (a warning would be printed into it), and results
# that cannot be written are no success.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario streams
prepare_sample

# Two documents with a bad byte: each is warned of while the token file is written.
{
    cat data/sample/fiches.jsonl
    printf '{"text": "caf\351 un"}\n{"text": "caf\351 deux"}\n'
} >"$work/bad.jsonl"
prepare_bad() {
    "$atelier" prepare "$tiny" --set "prepare.output=$work/$1.h5" --set "prepare.sources=[{path: $work/bad.jsonl}]" \
        --set prepare.bad_utf8=replace
}
prepare_bad open >"$log" 2>&1 || fail "prepare with its streams open"
expect "warnings" 2 "$(grep -c 'replaced by U+FFFD' "$log")"
prepare_bad closed 2>&- >"$log" || fail "prepare without standard error"
cmp -s "$work/open.h5" "$work/closed.h5" || fail "a warning was written into the token file"
prepare_bad none <&- >&- 2>&- || fail "prepare without any stream"
cmp -s "$work/open.h5" "$work/none.h5" || fail "something was written into the token file"
cmp -s "$work/open-valid.h5" "$work/none-valid.h5" || fail "something was written into the validation file"
say "a closed stream gives its number to no file"

train 0 0 "$work/run" --set train.steps=1
# full COMMAND... - its results have no room.
full() {
    code=0
    "$@" >/dev/full 2>"$log" || code=$?
    expect "the code of '$*' on a full device" 1 "$code"
    expect "error lines of '$*'" 1 "$(grep -c '^error: cannot write to standard output' "$log")"
    "$@" >/dev/null 2>"$log" || fail "the control: '$*'"
}
full "$atelier" generate "$work/run" --prompt Bonjour --max-tokens 2
full "$atelier" eval "$work/run" --data "$work/fiches-valid.h5" --json
full "$atelier" inspect "$work/run"
full "$atelier" status "$work/run"
full "$atelier" card "$work/run"
full "$atelier" plan "$tiny" --json
full "$atelier" help config
full "$atelier" --version
say "results that cannot be written: one line, code 1"

# A limit on the size of files (`ulimit -f`, in blocks of 512 bytes) comes with a signal that would end the program in silence.
# limited NAME COMMAND... - one line, code 1, nothing under its own name.
limited() {
    made=$work/$1
    shift
    (ulimit -f 20 && exec "$@") 2>&1 | cat >"$log" # the log itself may be longer
    expect "error lines of '$*' under a limit" 1 "$(grep -c '^error: .*File too large' "$log")"
    [ ! -e "$made" ] || fail "'$made' is there, though it is not whole"
}
limited small.h5 "$atelier" prepare "$tiny" --set "prepare.output=$work/small.h5" --set "prepare.sources=[{path: $work/bad.jsonl}]" \
    --set prepare.bad_utf8=replace
limited small.gguf "$atelier" export "$work/run" --to gguf --out "$work/small.gguf"
limited small-run/latest "$atelier" train "$tiny" --set run.device=cpu --set "data.train=$work/fiches.h5" --set data.valid=null \
    --set "run.folder=$work/small-run" --set train.steps=1 --set schedule.warmup_steps=0
"$atelier" export "$work/run" --to gguf --out "$work/small.gguf" >"$log" 2>&1 || fail "the control: an export without a limit"
say "a limit on the size of files: one line, and nothing half written"
