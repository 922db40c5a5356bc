#!/bin/sh
# scenario_data.sh - corpora in: the token file does not depend on threads or compression, copies are left out, only the
# assistant's words of a conversation count in the loss, bad bytes are treated as the configuration says.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario data
corpus=data/sample/fiches.jsonl

# prepare WANTED_CODE NAME SOURCE [ARGUMENT...] - NAME.h5 from this source, totals as JSON on the last output.
prepare() {
    wanted_code=$1 name=$2 source=$3
    shift 3
    printf 'prepare:\n  tokenizer: data/sample/tokenizer\n  sources:\n    - path: %s\n      name: corpus\n%s' \
        "$source" "${source_lines:-}" >"$work/$name.yaml"
    run "$wanted_code" "$atelier" prepare "$work/$name.yaml" --set "prepare.output=$work/$name.h5" --json "$@"
}

# total KEY - of the last prepare.
total() {
    json_number "$1" "$log"
}

# same_content A B - everything in two token files but the digest of the input file.
same_content() {
    for name in "$1" "$2"; do
        "$atelier" inspect "$work/$name.h5" --json | grep -v '"path"\|"sha256"' >"$work/$name.inspect"
        "$atelier" eval "$model" --data "$work/$name.h5" --json >"$work/$name.eval" || return 1
    done
    cmp -s "$work/$1.inspect" "$work/$2.inspect" && cmp -s "$work/$1.eval" "$work/$2.eval"
}

# --- a folder whose tokenizer is of another kind is told as one; control: the file that is read, beside it ---
mkdir "$work/pieces"
echo 'x' >"$work/pieces/tokenizer.model"
prepare 1 pieces "$corpus" --set "prepare.tokenizer=$work/pieces"
expect_output "the folder '.*/pieces' has neither tokenizer.json nor tekken.json; tokenizer.model is not read"
cp data/sample/tokenizer/*.json "$work/pieces/"
prepare 0 pieces "$corpus" --set "prepare.tokenizer=$work/pieces"

# --- the same whatever the threads ---
prepare 0 one "$corpus" --set prepare.threads=1
documents=$(total documents)
expect "documents" 84 "$documents"
prepare 0 two "$corpus" --set prepare.threads=2
cmp "$work/one.h5" "$work/two.h5" || fail "1 and 2 threads give different files"
sed '1d' "$corpus" >"$work/fewer.jsonl"
prepare 0 fewer "$work/fewer.jsonl"
if cmp -s "$work/one.h5" "$work/fewer.h5"; then
    fail "a corpus of one document less gives the same file"
fi
say "1 and 2 threads: the same bytes"

# --- a model to look at the content with ---
cp "$work/one.h5" "$work/fiches.h5"
run 0 "$atelier" train "$tiny" --set "run.folder=$work/run" --set "data.train=$work/fiches.h5" --set train.steps=2
model=$work/run/step-000002
if grep -Eq 'same tokens|has no effect' "$log"; then
    fail "something is said of a run that asks for nothing odd"
fi

# --- what is learnt is not what is validated with ---
cp "$work/fiches.h5" "$work/copy.h5" # by what it holds: the name says nothing
run 0 "$atelier" train "$tiny" --set "run.folder=$work/same" --set "data.train=[$work/fewer.h5, $work/fiches.h5]" \
    --set "data.valid=$work/copy.h5" --set train.steps=1 --set parallel.comm=mpi --set optimizer.offload=true
expect_output "^warning: '$work/copy.h5' holds the same tokens as '$work/fiches.h5' of data.train: a validation loss on what"
same=$(grep 'holds the same tokens' "$log")
cp "$log" "$work/train.log"
run 0 "$atelier" plan "$tiny" --set "data.train=[$work/fewer.h5, $work/fiches.h5]" --set "data.valid=$work/copy.h5" --ranks 1
expect "what plan says of the same tokens" "$same" "$(grep 'holds the same tokens' "$log")"
run 0 "$atelier" plan "$tiny" --set "data.train=$work/fiches.h5" --set "data.valid=$work/fewer.h5" --ranks 1 # control
! grep -q 'holds the same tokens' "$log" || fail "plan says of other tokens that they are the same"
for name in same run; do
    run 0 "$atelier" report "$work/$name" --output "$work/$name.html"
    ! grep -q 'never trained on' "$work/$name.html" || fail "the report promises what nobody looked at"
done
grep -q 'texts of the validation are trained on as well' "$work/same.html" || fail "the report is silent about its validation"
! grep -q 'trained on as well' "$work/run.html" || fail "the report doubts a validation without reason"
cp "$work/train.log" "$log"
expect_output '^parallel.comm has no effect: this run computes on CPUs'
expect_output '^optimizer.offload has no effect: this run computes on CPUs'
run 0 "$atelier" train "$tiny" --set "run.folder=$work/twice" --set "data.train=[$work/copy.h5, $work/fiches.h5]" \
    --set "data.valid=$work/fewer.h5" --set train.steps=1
expect_output "^warning: '$work/fiches.h5' holds the same tokens as '$work/copy.h5' of data.train: they are learnt with"
say "a token file that is named twice is told, by what it holds"

# --- compressed input ---
gzip -c "$corpus" >"$work/fiches.jsonl.gz"
prepare 0 gz "$work/fiches.jsonl.gz"
same_content one gz || fail ".jsonl.gz gives another token file than .jsonl"
if same_content one fewer; then
    fail "a corpus of one document less has the same content: the comparison sees nothing"
fi
if command -v zstd >/dev/null 2>&1; then
    zstd -q "$corpus" -o "$work/fiches.jsonl.zst"
    prepare 0 zst "$work/fiches.jsonl.zst"
    same_content one zst || fail ".jsonl.zst gives another token file than .jsonl"
    say ".gz and .zst: as the plain file"
else
    say ".gz: as the plain file; no zstd here"
fi
head -c 20000 "$work/fiches.jsonl.gz" >"$work/cut.jsonl.gz"
prepare 1 cut "$work/cut.jsonl.gz"
expect_output "^error: .*cut.jsonl.gz"
[ ! -e "$work/cut.h5" ] || fail "a truncated .gz left a token file behind"

# --- copies ---
cat "$corpus" "$corpus" >"$work/doubled.jsonl"
prepare 0 doubled "$work/doubled.jsonl"
expect "documents without copies" "$documents" "$(total documents)"
expect "copies left out" "$documents" "$(total duplicates)"
prepare 0 kept "$work/doubled.jsonl" --set prepare.deduplicate=false
expect "documents with copies" $((2 * documents)) "$(total documents)"
say "exact copies: left out, and counted"

# --- conversations ---
source_lines='      chat: true
'
prepare 0 chat data/sample/conversations.jsonl
expect "conversations" 40 "$(total documents)"
tokens=$(total tokens)
run 0 "$atelier" eval "$model" --data "$work/chat.h5" --json
targets=$(json_number target_tokens "$log")
share=$(awk -v a="$targets" -v b="$tokens" 'BEGIN { printf "%.2f", a / b }')
# The assistant's words are 73 % of the characters; the template's tokens count in no turn.
if ! is_at_most 0.4 "$share" || ! is_at_most "$share" 0.8; then
    fail "$targets of $tokens tokens count in the loss: $share is not the assistant's share"
fi
run 0 "$atelier" train "$tiny" --set "run.folder=$work/chat" --set "data.train=$work/chat.h5" --set train.steps=20 \
    --set optimizer.learning_rate=3e-3
first=$(losses "$work/chat" | sed -n '1s/.* //p') last=$(losses "$work/chat" | sed -n '20s/.* //p')
is_at_most "$last" "$(awk -v a="$first" 'BEGIN { print 0.95 * a }')" || fail "loss on conversations: $first, 20 steps later $last"
say "conversations: $share of the tokens count in the loss; it fell from $first to $last in 20 steps"
source_lines='      field: id
'
prepare 0 whole data/sample/conversations.jsonl # the control: without chat, every token but each first one counts
tokens=$(total tokens)
run 0 "$atelier" eval "$model" --data "$work/whole.h5" --json
expect "targets of plain documents" $((tokens - 40)) "$(json_number target_tokens "$log")"
source_lines=

# --- bytes that are not text ---
{
    printf '{"text": "La mairie est ouverte le lundi matin."}\n'
    printf '{"text": "La pr\351fecture est ferm\351e."}\n' # Latin-1
    printf '{"text": "Un z\\u0000ero au milieu."}\n'
} >"$work/bad.jsonl"
head -2 "$work/bad.jsonl" >"$work/latin1.jsonl"
prepare 0 replaced "$work/bad.jsonl" --set prepare.bad_utf8=replace
expect "documents repaired" "3 2" "$(total documents) $(total invalid_utf8)"
expect_output "bad.jsonl' line 2: invalid UTF-8 or NUL, replaced"
prepare 0 skipped "$work/bad.jsonl" --set prepare.bad_utf8=skip
expect "documents left" "1 2" "$(total documents) $(total invalid_utf8)"
prepare 1 refused "$work/bad.jsonl"
expect_output "^error: .*bad.jsonl' line 2: invalid UTF-8 .0xE9. at byte 16; .*encoding.* prepare.bad_utf8 to 'replace' or 'skip'"
[ ! -e "$work/refused.h5" ] || fail "a refused corpus left a token file behind"
prepare 0 latin1 "$work/latin1.jsonl" --set "prepare.sources=[{path: $work/latin1.jsonl, encoding: latin1}]"
expect "documents in Latin-1" "2 0" "$(total documents) $(total invalid_utf8)"
prepare 0 clean "$work/fewer.jsonl"
expect "bad documents of a clean corpus" 0 "$(total invalid_utf8)"
say "invalid UTF-8 and NUL: replaced, skipped or refused, as asked"
