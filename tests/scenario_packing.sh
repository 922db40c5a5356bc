#!/bin/sh
# scenario_packing.sh - data.packing auto, the default: conversations whole, texts as a stream, file by file, the same in the run, in
# plan, inspect and the model card; a run of an older default goes on as it began.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario packing
prepare_sample
cat >"$work/chats.yaml" <<END
prepare:
  tokenizer: data/sample/tokenizer
  output: $work/chats.h5
  sources:
    - {path: data/sample/conversations.jsonl, name: dialogues, chat: true}
data:
  train: $work/chats.h5
  sequence_tokens: 64
END
run 0 "$atelier" prepare "$work/chats.yaml"
expect_output '^  sequences .*\(data.packing: whole\); 40 documents are longer and cut: 2083 tokens are never used$'
chats="[{path: $work/chats.h5}]" texts="[{path: $work/fiches.h5}]" both="[{path: $work/fiches.h5}, {path: $work/chats.h5}]"

# learn CODE FOLDER DATA [ARGUMENT...]
learn() {
    wanted_code=$1 to=$2 files=$3
    shift 3
    run "$wanted_code" "$atelier" train "$tiny" --set "run.folder=$to" --set "data.train=$files" "$@"
}

# --- conversations are whole, which is said with what is cut; control: a stream is another run ---
learn 0 "$work/chats" "$chats"
expect_output '^data.packing auto: documents are packed whole, for data.train holds conversations, completions or pairs$'
expect_output "^left out: '.*chats.h5': 40 of 40 conversations are longer than data.sequence_tokens \(64\) and cut there: 2083 tokens"
learn 0 "$work/chats-whole" "$chats" --set data.packing=whole
learn 0 "$work/chats-stream" "$chats" --set data.packing=stream
expect "losses of conversations" "$(losses "$work/chats-whole")" "$(losses "$work/chats")"
[ "$(losses "$work/chats-stream")" != "$(losses "$work/chats")" ] || fail "a stream of conversations is the same run"

# --- texts are a stream, as before; control: whole is another run ---
learn 0 "$work/texts" "$texts"
expect_output '^data.packing auto: documents are packed as a stream, for data.train holds texts$'
learn 0 "$work/texts-stream" "$texts" --set data.packing=stream
learn 0 "$work/texts-whole" "$texts" --set data.packing=whole
expect "losses of texts" "$(losses "$work/texts-stream")" "$(losses "$work/texts")"
[ "$(losses "$work/texts-whole")" != "$(losses "$work/texts")" ] || fail "texts that are cut are the same run"

# --- of two files each in its way: said, and so in inspect and the model card ---
learn 0 "$work/both" "$both"
expect_output "^data.packing auto: documents of '.*fiches.h5' are packed as a stream$"
expect_output "^data.packing auto: documents of '.*chats.h5' are packed whole$"
grep -q '"packing": "whole, stream"' "$work/both/step-000010/provenance.json" || fail "provenance does not say both"
step=1
while [ "$step" -le 10 ]; do
    "$atelier" inspect "$work/both" --step "$step"
    step=$((step + 1))
done >"$work/rows"
grep -q 'chats.h5.* first_token 0 ' "$work/rows" || fail "no conversation was read"
! grep -q 'chats.h5.* first_token [1-9]' "$work/rows" || fail "a conversation goes on in another sequence"
grep -q 'fiches.h5.* first_token [1-9]' "$work/rows" || fail "no text goes on in another sequence"
# control: as a stream, conversations go on
"$atelier" inspect "$work/chats-stream" --step 2 | grep -q ' first_token [1-9]' || fail "the rows do not show where a document goes on"
say "auto: conversations whole, texts as a stream, each file in its way"

# --- one file of both is whole, so texts are cut: plan says so in the words of train, the card and the report count it ---
run 0 "$atelier" prepare "$work/chats.yaml" --set "prepare.output=$work/mixed.h5" \
    --set "prepare.sources=[{path: data/sample/fiches.jsonl}, {path: data/sample/conversations.jsonl, chat: true}]"
learn 0 "$work/mixed" "[{path: $work/mixed.h5}]"
expect_output 'mixed.h5.: [0-9]+ of [0-9]+ documents are longer .* prepared into files of their own, which data.train takes side by side'
line=$(sed -n 's/^left out: //p' "$log")
run 0 "$atelier" plan "$tiny" --set "data.train=[{path: $work/mixed.h5}]" --ranks 1
expect "what plan says is never used" "$line" "$(sed -n "s/.*warning: \('.*are longer.*\)/\1/p" "$log")"
run 0 "$atelier" plan "$tiny" --set "data.train=$texts" --ranks 1 # control: texts alone lose nothing
! grep -q 'are longer than data.sequence_tokens' "$log" || fail "plan warns of texts that are used whole"
unused=$(json_number unused_tokens "$work/mixed/$(cat "$work/mixed/latest")/provenance.json")
say "$line" | grep -q " $unused tokens are not used" || fail "provenance has $unused unused tokens: $line"
run 0 "$atelier" report "$work/mixed" --output "$work/mixed.html"
tr -d '\302\240\342\200\257, ' <"$work/mixed.html" | grep -q "longerthanasequence(tokens)</th><td>${unused}of" || fail "the report does not count them"
run 0 "$atelier" card "$work/mixed"
tr -d ', ' <"$log" | grep -q "longerthanasequence|$unused/" || fail "the card does not count them"
say "a file of conversations and texts: what is never used is told beforehand and counted after"

# --- what plan and inspect make of it: epochs in steps, samples ---
steps() { # of an epoch, by plan
    sed '/^  steps: 10$/d' "$tiny" >"$work/epochs.yaml"
    run 0 "$atelier" plan "$work/epochs.yaml" --set "data.train=$chats" --set train.epochs=4 --set "run.folder=$1" --json
    json_number steps "$log"
}
whole_steps=$(steps "$work/none")
learn 0 "$work/by-epochs" "$chats" --set train.steps=null --set train.epochs=4
expect_output "^train.epochs 4: $whole_steps steps of 8 sequences"
run 0 "$atelier" inspect "$work/chats.h5" --show 2 --run "$work/chats.yaml"
expect_output 'cut and packed as the run does \(data.packing: whole\)'

# --- a run that began as a stream, as all did by default: it goes on so, everywhere; control: a packing that is said is refused ---
learn 0 "$work/older" "$chats" --set data.packing=stream --set train.steps=4 --set schedule.kind=constant
cp -r "$work/older" "$work/kept" && cp -r "$work/older" "$work/refused"
learn 0 "$work/older" "$chats"
expect_output '^data.packing: documents are packed as a stream, as the run began; the run file leaves it to auto$'
expect "losses of a run that goes on" "$(losses "$work/chats-stream")" "$(losses "$work/older")"
learn 0 "$work/older" "$chats" --set train.steps=12 # and once more
expect_output 'packed as a stream, as the run began'
learn 2 "$work/refused" "$chats" --set data.packing=whole
expect_output 'trained with data.packing stream, the run file now says whole'
[ "$(steps "$work/kept")" -gt "$whole_steps" ] || fail "plan does not see that the run goes on as a stream"
run 0 "$atelier" inspect "$work/chats.h5" --show 2 --run "$work/chats.yaml"
printf 'run:\n  folder: %s\n' "$work/kept" >>"$work/chats.yaml"
run 0 "$atelier" inspect "$work/chats.h5" --show 2 --run "$work/chats.yaml"
expect_output 'cut and packed as the run does \(data.packing: stream\)'
run 0 on_ranks 2 "$atelier" train "$tiny" --set "run.folder=$work/kept" --set "data.train=$chats"
expect_output 'packed as a stream, as the run began'
learn 0 "$work/kept" "$chats" --set checkpoint.resume=never # anew: by what the data are
expect_output '^data.packing auto: documents are packed whole'
say "a run of the older default goes on as it began"

# --- pairs need no key ---
run 2 "$atelier" plan "$tiny" --set "data.train=$chats" --set objective.kind=dpo --set data.packing=stream
expect_output 'set data.packing to whole or auto'

# --- what no sequence holds is refused before anything is paid for: `plan` says what `train` says, word for word ---
run 0 "$atelier" prepare "$tiny" --set "prepare.sources=[{path: data/sample/votes.jsonl, record: vote}]" --set "prepare.output=$work/pairs.h5" \
    --set prepare.valid_every=0 --set prepare.on_bad_record=skip

# alike CODE PATTERN [ARGUMENT...] - the error of both.
alike() {
    wanted_code=$1 pattern=$2
    shift 2
    set -- "$tiny" --set "run.folder=$work/alike" --set train.steps=1 "$@"
    run "$wanted_code" "$atelier" train "$@"
    [ "$wanted_code" = 0 ] || expect_output "^error: .*$pattern"
    grep '^error: ' "$log" >"$work/of_train"
    run "$wanted_code" "$atelier" plan "$@" --ranks 1
    expect "what plan says, and train ($*)" "$(cat "$work/of_train")" "$(grep '^error: ' "$log")"
    [ "$wanted_code" = 0 ] || [ ! -e "$work/alike/log.txt" ] || fail "a refused run has a log"
    rm -rf "$work/alike"
}
whole='--set data.packing=whole --set data.long_documents'
pairs="--set objective.kind=orpo --set data.train=$work/pairs.h5 $whole"
# shellcheck disable=SC2086 # words
{
    alike 2 "fiches.h5': every document is longer than data.sequence_tokens .16.," --set "data.train=$texts" $whole=skip --set data.sequence_tokens=16
    alike 2 "fiches.h5': [0-9]+ of [0-9]+ documents are longer .*, document [0-9]+ .*the longest" --set "data.train=$texts" $whole=fail
    alike 2 "fiches-valid.h5': every document is longer" --set data.train=$work/chats.h5 --set data.valid=$work/fiches-valid.h5 $whole=skip --set data.sequence_tokens=250
    alike 2 "nothing to learn: token file '.*chats.h5' has no target token within the first 4 tokens of its documents" \
        --set "data.train=$chats" $whole=cut --set data.sequence_tokens=4
    alike 2 "pairs.h5': [0-9]+ of 40 pairs are longer than data.sequence_tokens .250., both documents together" $pairs=cut --set data.sequence_tokens=250
    alike 2 "pairs.h5': every pair is longer than a sequence .8 tokens., both documents together" $pairs=skip --set data.sequence_tokens=8
    # Controls: with room for one document or pair both take them.
    alike 0 - --set "data.train=$texts" $whole=cut --set data.sequence_tokens=16
    alike 0 - $pairs=skip --set data.sequence_tokens=250
}
say "documents and pairs of which none fits: plan says what train says"
