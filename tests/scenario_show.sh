#!/bin/sh
# scenario_show.sh - what will be learnt is seen before it is paid for: `prepare --show` and `inspect --show`.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario show
tokenizer=data/sample/tokenizer

# write_run NAME SOURCE-LINES - NAME.yaml without a run.
write_run() {
    printf 'prepare:\n  tokenizer: %s\n  output: %s\n  sources:\n%s\n' "$tokenizer" "$work/$1.h5" "$2" >"$work/$1.yaml"
}
chats="    - {path: data/sample/conversations.jsonl, name: dialogues, chat: true}"
write_run chats "$chats"

# --- of conversations the answers are learnt, and the token that ends them; nothing is written ---
printf '%s\n' '{"messages": [{"role": "user", "content": "Où est <|im_end|> ?"}, {"role": "assistant", "content": "Ici.\u001b[2J\u202e"}]}' \
    >"$work/one.jsonl"
write_run one "    - {path: $work/one.jsonl, chat: true, name: \"un\"}"
run 0 "$atelier" prepare "$work/one.yaml" --show 3 --set prepare.chat_template=chatml
expect_output "^nothing was written: a look at what 'prepare' would write to '$work/one.h5'"
expect_output '^read: all, .*, 1 documents'
expect_output '^1 of 1 documents, by seed 0'
expect_output "^  document 0 of 'un': [0-9]+ tokens, [0-9]+ learnt"
expect_output '^  \| ⟨<\|im_start\|>⟩user↵$'
expect_output '^  \| Où est <\|im_end\|> \?⟨<\|im_end\|>⟩↵$' # as text the words are no token
expect_output '^  \| ⟨<\|im_start\|>⟩assistant↵$'
expect_output '^  \| ⟦Ici\.⟨0x1B⟩\[2J⟨U\+202E⟩⟨<\|im_end\|>⟩⟧↵$'
if grep -q "$(printf '\033')" "$log"; then
    fail "a control character of a text, or a colour where there is no terminal, is in the output"
fi
[ ! -e "$work/one.h5" ] || fail "--show wrote the output"
expect "folders left" "" "$(find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'atelier-show-*' -newer "$work/one.yaml" -print)"

# --- in colour on a terminal; control: NO_COLOR ---
if command -v script >/dev/null 2>&1; then
    show_one="$atelier prepare $work/one.yaml --show 1 --set prepare.chat_template=chatml"
    green=$(printf '\033\[32m')Ici
    TERM=xterm NO_COLOR='' script -qec "$show_one" /dev/null >"$work/colour.txt" </dev/null
    grep -q "$green" "$work/colour.txt" || fail "a terminal gets no colour"
    TERM=xterm NO_COLOR=1 script -qec "$show_one" /dev/null >"$work/plain.txt" </dev/null
    grep -q '⟦Ici' "$work/plain.txt" || fail "NO_COLOR is not respected"
fi

# --- the same seed shows the same, another one others; ids are those of the text file ---
run 0 "$atelier" prepare "$work/chats.yaml" --show 3 --seed 4 --ids
cp "$log" "$work/a.txt"
expect "lines of ids" 3 "$(grep -c '^  ids [0-9]' "$log")"
run 0 "$atelier" prepare "$work/chats.yaml" --show 3 --seed 4 --ids --set prepare.threads=2
cmp "$work/a.txt" "$log" || fail "the same seed shows others"
run 0 "$atelier" prepare "$work/chats.yaml" --show 3 --seed 5 --ids
! cmp -s "$work/a.txt" "$log" || fail "another seed shows the same"

# --- from the token file the same as before it was written ---
run 0 "$atelier" prepare "$work/chats.yaml"
run 0 "$atelier" inspect "$work/chats.h5" --show 3 --seed 4 --ids --tokenizer "$tokenizer"
sed -n '/^3 of 40 documents/,$p' "$log" >"$work/b.txt"
sed -n '/^3 of 40 documents/,$p' "$work/a.txt" | cmp - "$work/b.txt" || fail "the file shows other samples than its sources"
say "samples: the same from the sources and from the token file"

# --- as the run cuts them: what is shown of an epoch is what the run counts as trained ---
for packing in whole stream; do
    cat >"$work/$packing.yaml" <<END
$(cat "$work/chats.yaml")
data:
  train: $work/chats.h5
  sequence_tokens: 64
  packing: $packing
END
    run 0 "$atelier" inspect "$work/chats.h5" --show 1000 --json --run "$work/$packing.yaml"
    sequences=$(grep -c '"number"' "$log")
    cp "$log" "$work/shown.json"
    run 0 "$atelier" prepare "$work/$packing.yaml" --json --set "train.steps=$((3 * sequences))" --set train.batch_sequences=1
    expect "sequences of the summary" "$sequences" "$(json_number sequences "$log")"
    expect "epochs of the summary" 3.0 "$(json_number epochs "$log")"
    expect "share of what is learnt" "0.598966" "$(json_number learnt_share "$log")"
    shown=$(sed -n 's/^      "learnt": \([0-9]*\),$/\1/p' "$work/shown.json" | awk '{ sum += $1 } END { print sum }')
    run 0 "$atelier" train "$tiny" --set "run.folder=$work/run-$packing" --set "data.train=$work/chats.h5" \
        --set "data.packing=$packing" --set train.steps="$sequences" --set train.batch_sequences=1 \
        --set train.micro_sequences=1
    trained=$(sed -n 's/^{"step": .*"target_tokens": \([0-9]*\).*/\1/p' "$work/run-$packing/metrics.jsonl" |
        awk '{ sum += $1 } END { print sum }')
    expect "learnt tokens of an epoch ($packing)" "$trained" "$shown"
    say "$packing: $shown learnt tokens in $sequences sequences, as many as the run trained"
done
if [ "$shown" = "$(sed -n 's/^      "tokens": \([0-9]*\),$/\1/p' "$work/shown.json" | awk '{ sum += $1 } END { print sum }')" ]; then
    fail "every token counts as learnt: the comparison sees nothing"
fi

# --- the summary in lines; what train will refuse is said ---
run 0 "$atelier" prepare "$work/whole.yaml"
expect_output '^  template       the model.s own$'
expect_output '^  learnt         2781 tokens, 59.9 %$'
expect_output "^  longest        document 36 \('data/sample/conversations.jsonl' line [0-9]+\), 213 tokens$"
expect_output '^ +64 to +95 tokens +[0-9]+ #+$'
expect_output '^  sequences      40 of 64 tokens \(data.packing: whole\); 40 documents are longer and cut: 2083 tokens are never used$'
expect_output '^  epochs         800: train.steps 1000 of 32 sequences each$'
run 0 "$atelier" prepare "$work/whole.yaml" --set data.long_documents=fail
expect_output "^warning: 'train' will refuse the file as the run file has it: .* 40 of 40 documents are longer"

# --- of a large corpus the beginning of each source is read, and that is said ---
i=0
while [ $i -lt 40 ]; do
    sed "s/\"text\": \"/\"text\": \"$i /" data/sample/fiches.jsonl
    i=$((i + 1))
done >"$work/large.jsonl"
write_run large "    - {path: $work/large.jsonl, name: large}
    - {path: data/sample/fiches-validation.jsonl, name: small}"
run 0 "$atelier" prepare "$work/large.yaml" --show 40
expect_output '^read: a part, [0-9.]+ MB of [0-9.]+ MB, from the beginning of each source; [0-9]+ documents'
cp "$log" "$work/part.txt"
run 0 "$atelier" prepare "$work/large.yaml" --show 40 --set prepare.threads=1
cmp "$work/part.txt" "$log" || fail "the part that is read depends on the threads"
run 0 "$atelier" prepare "$work/large.yaml" --json
expect "documents of all sources" 3368 "$(json_number documents "$log")"

# --- refused ---
run 2 "$atelier" prepare "$work/chats.yaml" --ids
expect_output '^error: .*--ids has no effect without --show N'
run 2 "$atelier" inspect "$work/chats.h5" --show 2
expect_output -- '--show needs the tokenizer that made the file: --tokenizer MODEL, or --run CONFIG'
run 2 "$atelier" inspect "$work/chats.h5" --show 2 --tokenizer "$tokenizer" --run "$work/chats.yaml"
expect_output -- '--tokenizer and --run both name a tokenizer: leave one of them out'
run 1 "$atelier" inspect "$tokenizer/tokenizer.json" --show 2 --tokenizer "$tokenizer"
expect_output "is not a token file: --show has no samples"
run 1 "$atelier" inspect "$work/chats.h5" --show 2 --tokenizer tests/golden/tekken/tekken.json
expect_output "^error: '$work/chats.h5' was made by another tokenizer \([0-9a-f]{12}; this one is [0-9a-f]{12}\)"
say "all said before it is trained"

# --- where a document was read: file and line as they are, past blank lines, copies and rows of several lines ---
mkdir -p "$work/places/texts"
line=0
while [ $line -lt 12 ]; do
    line=$((line + 1))
    case $line in
    3) say "" ;;
    5) say '{"text": "ligne 4 du fichier a.jsonl, et la suite"}' ;; # a copy
    *) say "{\"text\": \"ligne $line du fichier a.jsonl, et la suite\"}" ;;
    esac
done >"$work/places/a.jsonl"
printf 'id,text\n1,"ligne 2 du fichier b.csv,\nsur deux lignes"\n2,"ligne 4 du fichier b.csv, et la suite"\n' >"$work/places/b.csv"
say '[{"text": "ligne 1 du fichier c.json, et la suite"}, {"text": "ligne 2 du fichier c.json, et la suite"}]' >"$work/places/c.json"
say "ligne 0 du fichier e.txt, et la suite" >"$work/places/texts/e.txt"
tar -C "$work/places" -czf "$work/places/d.tar.gz" a.jsonl texts/e.txt
# places COUNT - so many documents of $work/placed.h5 are shown, each with the place that its text names.
places() {
    num_shown=$1
    run 0 "$atelier" inspect "$work/placed.h5" --tokenizer data/sample/tokenizer --show 100
    sed -n "s/^  read from '.*[\/:]\([^\/:']*\)' [a-z]* *\([0-9]*\)$/ligne \2 du fichier \1/p; s/^  read from '.*[\/:]\([^\/:']*\)'$/ligne 0 du fichier \1/p" "$log" >"$work/said"
    sed -n 's/.*\(ligne [0-9]* du fichier [a-z]*\.[a-z]*\).*/\1/p' "$log" >"$work/written"
    expect "documents shown" "$num_shown" "$(wc -l <"$work/written")"
    expect "places of documents" "$(cat "$work/written")" "$(cat "$work/said")"
}
place() {
    run 0 "$atelier" prepare "$tiny" --set "prepare.output=$work/placed.h5" --set prepare.valid_every=0 --set "prepare.sources=$1"
}
place "[{path: $work/places/a.jsonl, name: a}, {path: $work/places/b.csv, name: b}, {path: $work/places/c.json, name: c}, {path: $work/places/texts, name: e}]"
places 15
grep -q "line 12$" "$log" || fail "the last line is not told"
place "[{path: $work/places/d.tar.gz, name: d}]"
places 11
grep -q "read from '.*d.tar.gz:a.jsonl' line 2$" "$log" || fail "a member of an archive is not told"
# Labelled completions wait for the next one; each stands with its prompt, which is of its own line.
line=0
while [ $line -lt 6 ]; do
    line=$((line + 1))
    say "{\"prompt\": \"ligne $line du fichier l.jsonl\", \"completion\": \" réponse $line\", \"label\": true}"
done >"$work/places/l.jsonl"
place "[{path: $work/places/l.jsonl, name: l, record: label}]"
places 12
# A run tells it too, and of a file without places that it has none.
place "[{path: $work/places/a.jsonl, name: a}]"
run 0 "$atelier" train "$tiny" --set "run.folder=$work/placed" --set "data.train=$work/placed.h5" --set train.steps=1
run 0 "$atelier" inspect "$work/placed" --document 3 --json
expect_output "\"read_from\": \"'.*a.jsonl' line 6\""
run 2 "$atelier" train "$tiny" --set "run.folder=$work/long" --set "data.train=$work/placed.h5" --set data.packing=whole --set data.long_documents=fail --set data.sequence_tokens=4
expect_output "document [0-9]+ \('.*a.jsonl' line [0-9]+\) the longest with"
say "where a document was read: file and line of 38 documents of six formats, of labelled ones, and in a run"
