#!/bin/sh
# scenario_replace.sh - what a command writes replaces nothing but its own kind: a corpus named as prepare.output, any file named
# for a calibration, an export's place that is taken; and no folder called '~' is made.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario replace
prepare_sample
cp data/sample/fiches.jsonl "$work/corpus.jsonl"
cp data/sample/tokenizer/tokenizer.json data/sample/tokenizer/tokenizer_config.json "$work/"
echo precious >"$work/notes.txt"

# kept FILE ORIGINAL - nothing of it is lost, and nothing is left beside it.
kept() {
    cmp -s "$1" "$2" || fail "'$1' was replaced"
    [ -z "$(find "${1%/*}" -name "${1##*/}.*")" ] || fail "something is left beside '$1'"
}
# prepare_to CODE OUTPUT [ARGUMENT...]
prepare_to() {
    prepare_code=$1 output=$2
    shift 2
    run "$prepare_code" "$atelier" prepare "$tiny" --set "prepare.tokenizer=$work/tokenizer.json" \
        --set "prepare.sources=[{path: $work/corpus.jsonl}]" --set "prepare.output=$output" "$@"
}
for file in corpus.jsonl tokenizer.json; do
    cp "$work/$file" "$work/original"
    prepare_to 1 "$work/$file"
    expect_output "^error: '$work/$file' is there and is not a token file: it is not replaced; name another prepare.output"
    kept "$work/$file" "$work/original"
done
cp "$work/notes.txt" "$work/tokens-valid.h5" # where the documents of valid_every would go
prepare_to 1 "$work/tokens.h5" --set prepare.valid_every=5
expect_output "^error: '$work/tokens-valid.h5' is there and is not a token file"
kept "$work/tokens-valid.h5" "$work/notes.txt"
[ ! -e "$work/tokens.h5" ] || fail "half of the output was written"
: >"$work/empty.h5"
prepare_to 0 "$work/empty.h5" # nothing is lost with an empty file
cp "$work/empty.h5" "$work/before.h5"
prepare_to 0 "$work/empty.h5" --set prepare.document_ends=none # control: a token file is replaced
if cmp -s "$work/empty.h5" "$work/before.h5"; then
    fail "the token file was not replaced"
fi
say "prepare replaces token files alone"

cp "$work/notes.txt" "$work/original"
run 1 "$atelier" doctor --calibrate "$work/notes.txt"
expect_output "'$work/notes.txt' is there and is not a calibration: it is not replaced"
kept "$work/notes.txt" "$work/original"
run 0 "$atelier" doctor --calibrate "$work/rates.json"
run 0 "$atelier" doctor --calibrate "$work/rates.json" # control: an earlier one is
say "doctor --calibrate replaces calibrations alone"

home=$PWD
cd "$work" || exit 1
"$home/$atelier" prepare "$home/$tiny" --set "prepare.tokenizer=$home/data/sample/tokenizer" \
    --set "prepare.sources=[{path: corpus.jsonl}]" --set 'prepare.output=~/x.h5' >tilde.log 2>&1 && fail "~ was taken for a folder"
grep -q "^error: option '--set prepare.output=~/x.h5': .*write .HOME" tilde.log || fail "--set with ~ should be told"
"$home/$atelier" export "$home/data/sample/model" --to hf '--output=~/x' >tilde.log 2>&1 && fail "~ was taken for a folder"
grep -q "^error: --output: '~/x' begins with a '~' that the shell did not replace" tilde.log || fail "--output with ~ should be told"
[ ! -e '~' ] || fail "a folder called '~' was made"
cd "$home" || exit 1
say "a ~ that the shell left is refused"
