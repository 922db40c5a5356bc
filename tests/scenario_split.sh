#!/bin/sh
# scenario_split.sh - valid_share: a share of each source is kept for validation by its texts alone, the same in whatever order and
# files they come, and no text is on both sides.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario split
i=0
while [ $i -lt 12 ]; do
    sed "s/\"text\": \"/\"text\": \"$i /" data/sample/fiches.jsonl
    i=$((i + 1))
done >"$work/many.jsonl" # 1008 texts
sed 's/"text": "/"text": "other /' data/sample/fiches.jsonl >"$work/few.jsonl"

# prepare WANTED_CODE NAME SOURCES [ARGUMENT...] - NAME.h5 and NAME-valid.h5.
prepare() {
    wanted_code=$1 name=$2
    printf 'prepare:\n  tokenizer: data/sample/tokenizer\n  output: %s\n  sources: [%s]\n' "$work/$name.h5" "$3" >"$work/$name.yaml"
    shift 3
    run "$wanted_code" "$atelier" prepare "$work/$name.yaml" --json "$@"
}

# texts FILE - of all documents, a line each, in order of the alphabet.
texts() {
    "$atelier" inspect "$work/$1.h5" --show 1000 --json --tokenizer data/sample/tokenizer >"$work/texts.json" ||
        fail "'$1.h5' is not shown"
    sed -n 's/^ *"text": "\(.*\)",\{0,1\}$/\1/p' "$work/texts.json" | sort
}

many="{path: $work/many.jsonl, name: many}"
few="{path: $work/few.jsonl, name: few, valid_share: 0.5}"
prepare 0 ab "$many, $few" --set prepare.valid_share=0.1
documents=$(json_number documents "$log")
valid=$(json_number valid_documents "$log")
expect "documents" 1092 "$((documents + valid))"
texts ab-valid >"$work/ab.texts"
expect "documents shown" "$valid" "$(wc -l <"$work/ab.texts")"
of_few=$(grep -c '^⟨[^ ]*⟩⟦other ' "$work/ab.texts")
of_many=$((valid - of_few))
# Six standard deviations of a binomial: 100.8 +- 57 of 1008, 42 +- 27 of 84.
expect_between() {
    if [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
        fail "$1: $2, expected $3 to $4"
    fi
}
expect_between "of 1008 documents at a share of 0.1" "$of_many" 44 158
expect_between "of 84 documents at a share of 0.5" "$of_few" 15 69
say "validation: $of_many of 1008 at 0.1, $of_few of 84 at 0.5"

# --- in another order, in two files, by more threads: the same texts; control: another share ---
sort -R --random-source=data/sample/fiches.jsonl "$work/many.jsonl" >"$work/shuffled.jsonl"
mkdir "$work/parts"
head -n 500 "$work/shuffled.jsonl" >"$work/parts/b.jsonl"
tail -n +501 "$work/shuffled.jsonl" >"$work/parts/a.jsonl"
prepare 0 ba "$few, {path: $work/parts, name: many}" --set prepare.valid_share=0.1 --set prepare.threads=2
texts ba-valid | cmp -s - "$work/ab.texts" || fail "another order of the files keeps other texts"
prepare 0 more "$many, $few" --set prepare.valid_share=0.2
! texts more-valid | cmp -s - "$work/ab.texts" || fail "a larger share keeps the same texts"
expect "texts of the smaller share that the larger one lacks" 0 "$(texts more-valid | comm -13 - "$work/ab.texts" | wc -l)"

# --- copies: of a corpus that comes twice, and is not deduplicated, both are on one side; control: by every n-th they are not ---
both_sides() {
    texts "$1" >"$work/train.texts"
    texts "$1-valid" | sort -u >"$work/valid.texts"
    sort -u "$work/train.texts" | comm -12 - "$work/valid.texts" | wc -l
}
twice="{path: $work/few.jsonl, name: one}, {path: data/sample/fiches-validation.jsonl, name: more}, {path: $work/few.jsonl, name: two}"
prepare 0 twice "$twice" --set prepare.valid_share=0.3 --set prepare.deduplicate=false
expect "texts on both sides" 0 "$(both_sides twice)"
prepare 0 every "$twice" --set prepare.valid_every=5 --set prepare.deduplicate=false
[ "$(both_sides every)" -gt 0 ] || fail "every fifth document shares no text with the others: the comparison sees nothing"

# --- refused and told ---
prepare 1 odd "$many, $few" --set prepare.valid_share=0.1 --set prepare.deduplicate=false
expect_output "valid_share is 0.1 of source '.*many.jsonl' and 0.5 of '.*few.jsonl': with prepare.deduplicate false"
prepare 1 odd "$many" --set prepare.valid_share=0.1 --set prepare.valid_every=5
expect_output 'prepare.valid_every and valid_share each say what is kept for validation: set one of them'
prepare 2 odd "{path: $work/few.jsonl, valid_share: 1.5}"
expect_output "expected a number from 0 to 0.9"
prepare 0 told "$many, {path: data/sample/fiches-validation.jsonl, name: tiny, valid_share: 0.001}" --set prepare.valid_share=0.1
expect_output "^warning: no document of 'tiny' is kept for validation: its valid_share of 0.001 is small"
# The same where every n-th document is kept; the demo keeps some of both of its sources.
run 0 "$atelier" prepare configs/demo.yaml --set "prepare.output=$work/demo.h5" --set prepare.valid_every=12
expect_output "^warning: no document of 'atelier sample fiches, second part' is kept for validation: it has 8, and prepare.valid_every is 12"
run 0 "$atelier" prepare configs/demo.yaml --set "prepare.output=$work/demo.h5"
! grep -q "is kept for validation" "$log" || fail "the demo does not validate on a source"
prepare 1 none "{path: data/sample/fiches-validation.jsonl, valid_share: 0.0001}"
expect_output 'no document for validation: there are only 8, and the valid_share of each source is small; raise it'
[ ! -e "$work/none.h5" ] || fail "a file is left behind"
say "copies on one side, whatever the order"

# --- a source that gives nothing is told: a field that its records do not have; control: a value that they have ---
small="{path: data/sample/fiches-validation.jsonl, name: small"
prepare 0 nothing "$few, $small, where: {status: VIGUEUR}}"
expect_output "warning: no document comes from 'small': none of the 8 records that its where asked for the field 'status' has it"
prepare 1 alone "$small, where: {status: VIGUEUR}}"
expect_output "none of the 8 records that its where asked for the field 'status' has it"
prepare 1 alone "$small, where: {theme: [Citoyennete, nothing]}}"
expect_output "its where left out 8 records by the field 'theme', of which 0 do not have it and the others have another value"
printf 'text;status;year\nun texte de la table, le premier;VIGUEUR;2024\nun autre texte, plus ancien;ABROGE;2020\n' >"$work/table.csv"
prepare 1 table "{path: $work/table.csv, where: {statut: VIGUEUR}}"
expect_output "the source's where: no field 'statut', there is 'text', 'status', 'year'; did you mean 'status'"
prepare 0 table "{path: $work/table.csv, where: {status: VIGUEUR}}" --set prepare.valid_every=0 --set prepare.valid_share=0
prepare 0 something "$few, $small, where: {theme: Citoyenneté}}"
if grep -q 'no document comes from' "$log"; then
    fail "a source that gives documents is said to give none"
fi
prepare 0 copies "$many, {path: $work/many.jsonl, name: again}"
expect_output "warning: no document comes from 'again': all that it holds was left out"
say "sources that give nothing are told"
