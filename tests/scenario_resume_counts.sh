#!/bin/sh
# scenario_resume_counts.sh - training.json of a checkpoint whose checksums are right but whose counters are out of
# their ranges: refused by name before a step, on one rank and on two.  Keys of the run file that the checkpoint's version
# did not know count with their defaults.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario resume_counts
prepare_sample
reseal=${OUT:-build/cpu}/tests/tool_reseal
[ -x "$reseal" ] || skip "no '$reseal' (make tests)"

small() { # WANTED_CODE RANKS FOLDER STEPS [ARGUMENT...]
    wanted_code=$1 ranks=$2 folder=$3 steps=$4
    shift 4
    train "$wanted_code" "$ranks" "$folder" --set "train.steps=$steps" --set data.sequence_tokens=16 \
        --set train.batch_sequences=2 --set train.micro_sequences=1 --set valid.every_steps=0 "$@"
}
small 0 0 "$work/good" 2
state=step-000002/state/training.json

# edited NAME SED - a copy of the run whose training.json was edited and whose manifest was made anew.
edited() {
    cp -r "$work/good" "$work/$1"
    sed -i "$2" "$work/$1/$state"
    "$reseal" "$work/$1/step-000002" || fail "cannot make the manifest of '$1' anew"
}

# refuse NAME KEY VALUE RANKS - on a resume, by the key's name and the value.
refuse() {
    edited "$1" "s/\"$2\": [-0-9.e+]*/\"$2\": $3/"
    if cmp -s "$work/good/$state" "$work/$1/$state"; then
        fail "training.json has no '$2' to edit"
    fi
    small 2 "$4" "$work/$1" 4
    expect_output "^error: .*training.json.*'$2' is $3"
    expect "steps after the refusal of $2 $3" "$(losses "$work/good")" "$(losses "$work/$1")"
}

refuse step-huge step 9223372036854775807 2
refuse updates-negative updates -9223372036854775807 0
refuse start-more data_start 3 0
refuse tokens-huge tokens_seen 9223372036854775807 0
say "counters out of range are refused by name"

edited same 's/$//' # control: made anew without an edit
small 0 0 "$work/same" 4
expect_output "resumed from '.*step-000002' after step 2"
say "the same checkpoint with its manifest made anew goes on"

# without NAME KEY - as an older version left it: KEY is not among the keys that training.json keeps.
without() {
    edited "$1" "s/\"$2\": /\"other\": /"
    grep -q '"other": ' "$work/$1/$state" || fail "training.json does not keep '$2'"
}

without unknown-seed 'run\.seed' # the run had seed 7, the default is 1: so had the version that knew no seed
small 2 0 "$work/unknown-seed" 4
expect_output "was trained with run.seed 1 \(its default: .* did not know the key\), the run file now says 7"
without unknown-one 'run\.seed'
small 2 0 "$work/unknown-one" 4 --set run.seed=12 # 12 holds the 1 and is another value
expect_output "was trained with run.seed 1 \(its default.*, the run file now says 12"
without unknown-same 'data\.packing'
small 0 0 "$work/unknown-same" 4 # control: the default of then and now
if grep -Eq 'data.packing was|with data.packing' "$log"; then
    fail "something is said of a key that has its default"
fi
without unknown-course 'schedule\.kind'
small 0 0 "$work/unknown-course" 4
expect_output "schedule.kind was cosine \(its default: .*, is now constant"
say "keys that the checkpoint's version did not know count with their defaults"
