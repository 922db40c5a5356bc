#!/bin/sh
# scenario_nothing_learnt.sh - a mean over nothing is not a number: token files without a target are refused before the first
# step, steps without one change nothing and say so, their metrics are null.  Updates are counted apart from steps: after
# gradients that overflowed f16 the first update is as long as it should be.  What 'packing: whole' does not use is told.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario nothing_learnt
prepare_sample

# Documents of a single token have no target: the first token of a document is never predicted.
single='{"text": "a"}'
long='{"text": "Pour obtenir un passeport, il faut prendre rendez-vous dans une mairie et remplir une demande."}'

# prepare_texts NAME SOURCE... - a token file of sources $work/SOURCE.jsonl, their documents without tokens around them.
prepare_texts() {
    name=$1
    shift
    printf 'prepare:\n  tokenizer: data/sample/tokenizer\n  output: %s\n  deduplicate: false\n  document_ends: none\n  sources:\n' \
        "$work/$name.h5" >"$work/$name.yaml"
    for source in "$@"; do
        printf '    - {path: %s, name: %s, licence: none}\n' "$work/$source.jsonl" "$source" >>"$work/$name.yaml"
    done
    run 0 "$atelier" prepare "$work/$name.yaml"
}

for _ in $(seq 120); do say "$single"; done >"$work/singles.jsonl"
{ cat "$work/singles.jsonl" && say "$long" && say "$long"; } >"$work/mixed.jsonl"
prepare_texts singles singles
prepare_texts mixed mixed
prepare_texts two singles mixed

# --- refused before anything is written ---
refused() {
    folder=$1
    shift
    train 2 0 "$folder" "$@"
    expect_output '^error: .*singles.h5. has no target token: none of its documents is longer than one token'
    [ ! -e "$folder" ] || fail "refused, and yet '$folder' was made"
}
refused "$work/none" --set "data.train=$work/singles.h5"
refused "$work/none" --set "data.train=[$work/fiches.h5, $work/singles.h5]"
refused "$work/none" --set "data.valid=$work/singles.h5"
train 2 2 "$work/none" --set "data.train=$work/singles.h5"
expect "error lines of two ranks" 1 "$(grep -c '^error: ' "$log")"
train 0 0 "$work/some" --set "data.train=$work/mixed.h5" --set train.steps=1 # the control
model=$work/some/step-000001
run 2 "$atelier" eval "$model" --data "$work/singles.h5"
expect_output '^error: .*singles.h5. has no target token'
run 0 "$atelier" eval "$model" --data "$work/mixed.h5" --json
expect_output '"target_tokens": [1-9]'
say "files without targets: refused by train (alone, in a mixture, for validation) and by eval"

# --- one source of several without targets ---
run 0 "$atelier" eval "$model" --data "$work/two.h5"
expect_output '^singles +no targets +- +- +0$'
expect_output '^mixed +[0-9.]+ +[0-9.]+ +[0-9.]+ +[1-9]'
run 0 "$atelier" eval "$model" --data "$work/two.h5" --json
tr -d ' \n' <"$log" >"$work/two.json"
grep -q '"singles":{"loss":null,"perplexity":null,"bits_per_byte":null,"target_tokens":0}' "$work/two.json" ||
    fail "a source without targets should have null for loss and perplexity: $(cat "$work/two.json")"

# --- steps without targets: with one short sequence each, most batches hold single tokens alone ---
train 0 0 "$work/steps" --set "data.train=$work/mixed.h5" --set data.packing=whole --set data.sequence_tokens=24 \
    --set train.batch_sequences=1 --set train.micro_sequences=1 --set train.steps=10 --set checkpoint.every_steps=1 \
    --set optimizer.weight_decay=10
metrics=$work/steps/metrics.jsonl
empty=$(grep -c '"target_tokens": 0,' "$metrics")
case $empty in
[2-9]) ;;
*) fail "$empty of 10 steps without targets, expected some of both" ;;
esac
expect "steps that say why they made no update" "$empty" "$(grep -c '"skipped": "no targets"' "$metrics")"
expect "null losses" "$empty" "$(grep -c '^{"step": [0-9]*, "loss": null, "grad_norm": null' "$metrics")"
expect "losses of 0" 0 "$(grep -c '"loss": 0,' "$metrics")"
expect "updates" $((10 - empty)) "$(grep '^{"step": 10,' "$metrics" | sed 's/.*"update": \([0-9]*\).*/\1/')"
expect_output "no update +in $empty steps: no target tokens"
expect_output 'the batch has no target token; no update \(1 such step so far\)'
expect "lines without a time" 0 "$(grep -vcE '"time": "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z"}$' "$metrics")"
id=$(sed -n 's/.*"id": "\([0-9a-f]*\)".*/\1/p' "$(dirname "$metrics")/run.json")
expect "length of the run's id" 16 "${#id}"
expect "lines without the run's id" 0 "$(grep -vc "\"run\": \"$id\", \"time\"" "$metrics")"
unchanged=0 changed=0
for step in 2 3 4 5 6 7 8 9 10; do
    before=$(printf '%s/steps/step-%06d' "$work" $((step - 1))) now=$(printf '%s/steps/step-%06d' "$work" "$step")
    same=yes
    for file in model state/master state/adam_m state/adam_v; do
        cmp -s "$before/$file.safetensors" "$now/$file.safetensors" || same=no
    done
    if grep -q "^{\"step\": $step, \"loss\": null" "$metrics"; then
        expect "state unchanged by step $step, which had no target" yes $same
        unchanged=$((unchanged + 1))
    else
        expect "state unchanged by step $step, which had targets" no $same
        changed=$((changed + 1))
    fi
done
say "steps without targets: $unchanged left every bit of the state as it was, $changed others did not"
run 0 "$atelier" status "$work/steps"
expect_output "^updates +$((10 - empty)): the other steps"

# --- a resumed run counts on ---
train 0 0 "$work/split" --set "data.train=$work/mixed.h5" --set data.packing=whole --set data.sequence_tokens=24 \
    --set train.batch_sequences=1 --set train.micro_sequences=1 --set train.steps=10 --set checkpoint.every_steps=1 \
    --set optimizer.weight_decay=10
rm -rf "$work/split"/step-00000[6-9] "$work/split/step-000010"
echo step-000005 >"$work/split/latest"
train 0 0 "$work/split" --set "data.train=$work/mixed.h5" --set data.packing=whole --set data.sequence_tokens=24 \
    --set train.batch_sequences=1 --set train.micro_sequences=1 --set train.steps=10 --set checkpoint.every_steps=1 \
    --set optimizer.weight_decay=10
expect_output "resumed from '.*step-000005'"
for file in model state/master state/adam_m state/adam_v; do
    cmp -s "$work/steps/step-000010/$file.safetensors" "$work/split/step-000010/$file.safetensors" ||
        fail "resumed after step 5, '$file' of step 10 differs"
done

# --- f16: gradients that overflow at the start ---
# floats FILE - the values of a file of f32 tensors, one a line; its header ends on a page.
floats() {
    header=$(od -An -tu8 -N8 "$1")
    od -An -v -tf4 -w4 -j $((header + 8)) "$1"
}
# Matrices drawn wide enough give gradients that overflow; too wide, and the loss is not a number.
for range in 1 1.2 1.4 1.6 1.8 2 2.5; do
    rm -rf "$work/f16"
    train '[01]' 0 "$work/f16" --set train.compute=f16 --set "model.architecture.initializer_range=$range" \
        --set train.steps=5 --set checkpoint.every_steps=1 --set optimizer.weight_decay=0 --set data.valid=null
    if grep -q 'step 1: a gradient overflowed f16; no update' "$log" && [ "$code" = 0 ]; then
        break
    fi
done
metrics=$work/f16/metrics.jsonl
grep '^{"step": 1,' "$metrics" | grep -q '"update": 0, "skipped": "f16 overflow"' || fail "step 1 should say that it was skipped"
first=$(sed -n 's/^{"step": \([0-9]*\),.*"update": 1, "seconds".*/\1/p' "$metrics")
case $first in
[2-5]) ;;
*) fail "one of steps 2 to 5 should be update 1, not '$first'" ;;
esac
now=$work/f16/step-00000$first before=$work/f16/step-00000$((first - 1))
grep -q '"updates": 1,' "$now/state/training.json" || fail "training.json should say that one update was made"
# AdamW's first update is the learning rate times the sign of the gradient (its moments are corrected to g and g^2):
# 1e-3 for every weight whose gradient is not next to eps.  Corrected as the second it would be 0.73e-3.
floats "$before/state/master.safetensors" >"$work/before"
floats "$now/state/master.safetensors" >"$work/after"
longest=$(paste "$work/before" "$work/after" |
    awk '{ d = $2 - $1; if (d < 0) d = -d; if (d > most) most = d } END { printf "%.6g\n", most }')
if ! is_at_most "$longest" 1.001e-3 || ! is_at_most 0.999e-3 "$longest"; then
    fail "the first update after an overflow moves weights by up to $longest, expected 1e-3"
fi
say "f16: after an overflow the first update is $longest long, wanted 1e-3"

# --- a model that is dead: all its weights are zero, the loss stays at the logarithm of the vocabulary ---
cp -r "$work/some/step-000001" "$work/zero"
header=$((8 + $(od -An -tu8 -N8 "$work/zero/model.safetensors")))
size=$(wc -c <"$work/zero/model.safetensors")
rm -f "$work/zero/manifest.json" # whose checksums would be the first to notice
dd if=/dev/zero of="$work/zero/model.safetensors" bs=1 seek=$header count=$((size - header)) conv=notrunc status=none
sed '/^model:/,/^$/d' "$tiny" >"$work/from_model.yaml"

# from_model CODE RANKS FOLDER MODEL [ARGUMENT...] - trained further from a model.
from_model() {
    from_code=$1 from_ranks=$2 from_folder=$3 from_path=$4
    shift 4
    run "$from_code" on_ranks "$from_ranks" "$atelier" train "$work/from_model.yaml" --set "run.folder=$from_folder" \
        --set "data.train=$work/fiches.h5" --set "model.path=$from_path" "$@"
}

for ranks in 0 2; do
    folder=$work/dead-$ranks
    from_model 1 $ranks "$folder" "$work/zero" --set checkpoint.every_steps=5
    expect_output '^warning: step 3: the run learns nothing: the loss is 8.3178 and all gradients are exactly zero since step 1'
    expect "warnings" 1 "$(grep -c 'the run learns nothing' "$log")"
    expect_output '^outcome +not done: nothing is learnt: all gradients are exactly zero since step 1$'
    expect "steps told" 10 "$(grep -c '"still_since": 1,' "$folder/metrics.jsonl")"
    run 0 "$atelier" status "$folder"
    expect_output '^state +nothing learnt$'
    expect_output '^learnt +nothing since step 1: all gradients are exactly zero$'
    expect_output '^checkpoint +step-000010, suspect: nothing is learnt'
    run 0 "$atelier" inspect "$folder/step-000005"
    expect_output '^ *suspect +nothing is learnt: all gradients are exactly zero since step 1$'
    grep -q '^\*\*Nothing was learnt: all gradients are exactly zero since step 1\.\*\*$' "$folder/step-000010/README.md" ||
        fail "the model card should say that nothing was learnt"
    run 0 "$atelier" card "$folder" --lang fr
    expect_output "^\*\*Rien n'a été appris : .* depuis l'étape 1\.\*\*$"
    from_model 1 $ranks "$folder" "$work/zero" --set checkpoint.every_steps=5 # started again it stays what it is
    expect_output "all 10 steps are trained, but '.*step-000010' is marked suspect: nothing is learnt"
    from_model 1 $ranks "$folder" "$work/zero" --set train.steps=11 --set checkpoint.every_steps=5 # resumed it is known
    expect_output '^outcome +not done: nothing is learnt: all gradients are exactly zero since step 1$'
done
from_model 0 0 "$work/alive" "$work/some/step-000001" # control
expect_output '^outcome +done$'
if grep -q still_since "$work/alive/metrics.jsonl" || grep -q 'Nothing was learnt' "$work/alive/step-000010/README.md"; then
    fail "a run that learns is told not to"
fi
run 0 "$atelier" status "$work/alive"
expect_output '^state +done$'
say "a dead model: told after three steps, code 1, in the summary, status, the card and the checkpoints"

# --- packing whole: what is cut ---
train 0 0 "$work/whole" --set data.packing=whole --set train.steps=1
expect_output "^left out: '.*fiches.h5': [0-9]+ of [0-9]+ documents are longer than data.sequence_tokens .64. and cut there"
expect_output '^left out +.*tokens are not used, [0-9]+ of them targets'
grep -q '^left out: ' "$work/whole/log.txt" || fail "log.txt should tell what is left out"
train 0 0 "$work/stream" --set train.steps=1
if grep -q 'left out' "$log"; then
    fail "packing stream leaves nothing out"
fi
train 2 0 "$work/fails" --set data.packing=whole --set data.long_documents=fail
expect_output '^error: .*documents are longer than data.sequence_tokens'
[ ! -e "$work/fails" ] || fail "refused, and yet the run folder was made"
say "packing whole: cut, counted and told; refused where asked"
