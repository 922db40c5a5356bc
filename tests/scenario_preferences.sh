#!/bin/sh
# scenario_preferences.sh - from votes to a trained model: what is left out is counted, dpo and kto have the losses of one rank
# on 2 and 4, at every stage and with accumulation; what the reference model says is computed once, read by later starts and
# other layouts, in parts where signals come, computed again where it was removed or the token file made again, and refused where it
# belongs to another model or is damaged; a run that goes on has the bits of one that was never stopped; orpo and simpo need no reference; data and
# objectives that do not belong together are refused by name.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario preferences
prepare_sample

# --- data ---

# prepare RECORD PATH OUTPUT [ARGUMENT...]
prepare() {
    record=$1 input=$2 output=$3
    shift 3
    run 0 "$atelier" prepare "$tiny" --set prepare.tokenizer=data/sample/tokenizer/tokenizer.json --set prepare.valid_every=8 \
        --set "prepare.sources=[{path: $input, record: $record}]" --set "prepare.output=$output" --json "$@"
}
prepare vote data/sample/votes.jsonl "$work/pairs.h5"
expect "votes for neither" 1 "$(json_number tie "$log")"
expect "votes with two system prompts" 1 "$(json_number systems_differ "$log")"
expect "documents" 70 "$(json_number documents "$log")"
prepare vote data/sample/votes.jsonl "$work/other.h5" --set prepare.valid_every=5
run 1 "$atelier" prepare "$tiny" --set "prepare.sources=[{path: data/sample/votes.jsonl, record: vote}]" \
    --set "prepare.output=$work/none.h5" --set "prepare.models=[sample-a]"
expect_output "no document to write .* 42 records"
expect_output "records +[0-9]+: an answer of a model that prepare.models does not list"
say '{"a": 1}' >"$work/other.jsonl"
for record in vote reaction; do
    field=model_a_name
    [ "$record" = reaction ] && field=liked
    run 1 "$atelier" prepare "$tiny" --set "prepare.sources=[{path: $work/other.jsonl, record: $record}]" \
        --set "prepare.output=$work/none.h5"
    expect_output "other.jsonl' line 1: the field '$field' is missing, which every $record has"
done
run 2 "$atelier" prepare "$tiny" --set prepare.on_bad_record=skip --set "prepare.output=$work/none.h5"
expect_output "'prepare.on_bad_record' is skip, which would have no effect: it is read only where an entry of prepare.sources has record: completion, pair"
run 0 "$atelier" inspect "$work/pairs.h5"
expect_output "^pairs +35"

i=0
while [ $i -lt 30 ]; do
    label=true
    [ $((i % 3)) = 0 ] && label=false
    printf '{"prompt": "Question %d : que faire ?", "completion": " Il faut %d documents, et encore %d.", "label": %s}\n' \
        $i $((i * 7 % 11)) $((i * 5 % 13)) $label
    i=$((i + 1))
done >"$work/labels.jsonl"
prepare label "$work/labels.jsonl" "$work/labels.h5"
expect "documents, each with a mismatched one" 54 "$(json_number documents "$log")"
! grep -q "has the label" "$log" || fail "completions of both labels are told to have one"
for label in true false; do
    grep "\"label\": $label" "$work/labels.jsonl" >"$work/one_label.jsonl"
    run 0 "$atelier" prepare "$tiny" --set "prepare.sources=[{path: $work/one_label.jsonl, record: label}]" \
        --set "prepare.output=$work/one_label.h5" --set prepare.valid_every=0
    expect_output "warning: every completion of '.*one_label.h5' has the label $label: KTO learns from both"
done
say '{"prompt": "Question", "completion": " Oui.", "label": "yes"}' >>"$work/labels.jsonl"
run 1 "$atelier" prepare "$tiny" --set "prepare.sources=[{path: $work/labels.jsonl, record: label}]" \
    --set "prepare.output=$work/bad.h5"
expect_output "labels.jsonl' line 31: 'label' is a string, expected true or false"

# --- the same losses on every layout ---

train 0 0 "$work/base" --set train.steps=2
sed '/^model:/,/^$/d' "$tiny" >"$work/from_model.yaml"

# learn CODE RANKS FOLDER OBJECTIVE DATA [ARGUMENT...]
learn() {
    learn_code=$1 learn_ranks=$2 folder=$3 objective=$4 data=$5
    shift 5
    run "$learn_code" on_ranks "$learn_ranks" "$atelier" train "$work/from_model.yaml" --set "run.folder=$folder" \
        --set "model.path=$work/base/step-000002" --set "data.train=$work/$data.h5" --set "data.valid=$work/$data-valid.h5" \
        --set data.sequence_tokens=256 --set data.packing=whole --set data.long_documents=skip \
        --set "objective.kind=$objective" --set train.steps=6 "$@"
}

# all_losses FOLDER - of training steps, then of validations.
all_losses() {
    losses "$1"
    sed -n 's/^{"event": "validation", "step": \([0-9]*\), "loss": \([^,]*\),.*/\1 \2/p' "$1/metrics.jsonl"
}

# same_losses WHAT FOLDER - as those of $alone.
same_losses() {
    all_losses "$2" >"$work/got"
    all_losses "$alone" >"$work/want"
    expect "losses of steps and validations" 8 "$(wc -l <"$work/want")"
    is_within "$work/got" "$work/want" 1e-5 || fail "$1: losses differ by $worst"
    say "$1: largest relative difference of the losses $worst"
}

for objective in dpo kto; do
    data=pairs
    [ $objective = kto ] && data=labels
    alone=$work/$objective
    learn 0 0 "$alone" "$objective" "$data" --set train.micro_sequences=8
    expect_output "reference: .* was computed in"
    expect_output "^reference: a forward pass of the starting model over '.*', 0 % done"
    expect "files of references" 2 "$(find "$work" -name "$data*.reference-*-f32" | wc -l)"
    grep -q '"rewards/chosen": [-0-9.e]*, "rewards/rejected": [-0-9.e]*, "rewards/margins": [-0-9.e]*,' "$alone/metrics.jsonl" ||
        fail "no rewards in metrics.jsonl"
    if grep -qE '[ :]-?nan' "$alone/log.txt" "$alone/summary.txt"; then
        fail "a mean over nothing is shown as nan"
    fi
    shown=0 # a validation before the first step and one after the last; of labelled completions there is no accuracy
    [ "$objective" = dpo ] && shown=2
    expect "accuracies of $objective" $shown "$(grep -c 'validation loss .* accuracy' "$alone/log.txt")"
    grep -q "^last step     rewards" "$alone/summary.txt" || fail "no rewards in the summary"
    # What a stage holds and how ranks gather is the same code for every objective.
    layouts=$(sampled "2:0:1 2:1:2 2:2:1 4:3:1" "2:0:1 2:1:2 2:2:1 2:3:4 4:3:1 4:0:2")
    [ "$objective" = dpo ] || layouts=$(sampled "2:3:4 4:0:2" "2:0:1 2:1:2 2:2:1 2:3:4 4:3:1 4:0:2")
    for layout in $layouts; do
        ranks=${layout%%:*} stage=${layout#*:} micro=${layout##*:}
        stage=${stage%:*}
        learn 0 "$ranks" "$alone-$layout" "$objective" "$data" --set "parallel.stage=$stage" --set "train.micro_sequences=$micro"
        expect_output "reference: .* was read from"
        same_losses "$objective on $ranks ranks, stage $stage, $micro sequences at once" "$alone-$layout"
    done
    learn 0 4 "$alone-replicas" "$objective" "$data" --set parallel.stage=2 --set parallel.replicas=2
    same_losses "$objective in two replicas of 2 ranks" "$alone-replicas"
    learn 0 0 "$alone-beta" "$objective" "$data" --set objective.beta=0.12 # the control
    losses "$alone-beta" >"$work/got"
    losses "$alone" >"$work/want"
    if is_within "$work/got" "$work/want" 1e-5; then
        fail "another beta gives the same losses: the comparison sees nothing"
    fi
done
first=$(losses "$work/dpo" | sed -n '1s/^1 //p')
if ! is_at_most "$first" 0.69324 || ! is_at_most 0.69305 "$first"; then
    fail "the first loss is $first, not log 2, though model and reference are the same"
fi

run 0 "$atelier" eval "$work/dpo/step-000006" --data "$work/pairs.h5" --sequence-tokens 256
expect "target tokens of both sides of the pairs" "$(sed -n 's/^all .* //p' "$log")" \
    "$(awk '$1 == "chosen" || $1 == "rejected" { sum += $NF } END { print sum }' "$log")"
expect "loss of both sides of the pairs" "$(awk '$1 == "all" { printf "%.4f", $2 }' "$log")" \
    "$(awk '$1 == "chosen" || $1 == "rejected" { sum += $2 * $NF; tokens += $NF } END { printf "%.4f", sum / tokens }' "$log")"
awk '$1 == "chosen" { chosen = $2 } $1 == "rejected" { exit !(chosen < $2) }' "$log" ||
    fail "after DPO the chosen answers are no likelier than the rejected ones"

# the last validation of the run has sums of the same log-probabilities, each a mean over the same pairs
run 0 "$atelier" eval "$work/dpo/step-000006" --data "$work/pairs-valid.h5" --sequence-tokens 256
of_eval=$(awk '$1 == "chosen" { chosen = $2 * $NF } $1 == "rejected" { print chosen / ($2 * $NF) }' "$log")
of_run=$(sed -n 's/.*"validation", "step": 6,.*"logps\/chosen": \([-0-9.e]*\), "logps\/rejected": \([-0-9.e]*\),.*/\1 \2/p' \
    "$work/dpo/metrics.jsonl" | awk '{ print $1 / $2 }')
awk -v a="$of_eval" -v b="$of_run" 'BEGIN { exit !(a > 0 && a / b < 1.00002 && b / a < 1.00002) }' ||
    fail "eval says chosen over rejected $of_eval, the run's validation $of_run"
say "eval of pairs: chosen over rejected $of_eval, as in the run's validation"
run 0 "$atelier" eval "$work/kto/step-000006" --data "$work/labels.h5" --sequence-tokens 256 --json
expect_output '"desirable"'
expect_output '"undesirable"'
run 0 "$atelier" eval "$work/dpo/step-000006" --data "$work/pairs.h5" --sequence-tokens 128
expect_output "warning: [0-9]+ of the 35 pairs of .* are longer than a sequence"
run 2 "$atelier" eval "$work/dpo/step-000006" --data "$work/pairs.h5" --sequence-tokens 8
expect_output "every pair is longer than a sequence \(8 tokens\)"

# --- the reference ---

alone=$work/dpo
rm "$work"/pairs*.reference-*
learn 0 2 "$work/again" dpo pairs --set parallel.stage=3
expect_output "reference: .* was computed in"
same_losses "a reference computed on 2 ranks" "$work/again"

learn 0 0 "$work/split" dpo pairs --set train.steps=3 --set train.micro_sequences=8
cp -r "$work/split" "$work/split2"
rm "$work"/pairs*.reference-*
learn 0 0 "$work/dpo2" dpo pairs --set train.micro_sequences=8
learn 0 0 "$work/split" dpo pairs --set train.micro_sequences=8
expect_output "reference: .* was read from"
rm "$work"/pairs*.reference-*
learn 0 0 "$work/split2" dpo pairs --set train.micro_sequences=8
expect_output "reference: .* was computed in"
for file in model state/master state/adam_m state/adam_v; do
    for folder in split split2; do
        cmp "$work/dpo2/step-000006/$file.safetensors" "$work/$folder/step-000006/$file.safetensors" ||
            fail "$folder: $file differs after a resume"
    done
done
say "a resume gives the same bits, with the reference that was kept or computed anew from the base model"

rm -f "$work"/pairs*.reference-*
cp -r "$work/split2" "$work/split3"
rm -r "$work/split3/step-000006" && echo step-000003 >"$work/split3/latest"
mv "$work/base" "$work/gone"
learn 2 0 "$work/split3" dpo pairs
expect_output "error: .*reference model"
mv "$work/gone" "$work/base"

learn 0 0 "$work/fresh" dpo pairs --set train.steps=1
kept=$(find "$work" -name "pairs.h5.reference-*")
cp "$kept" "$work/kept"
# refused WHAT PATTERN - a new run with what lies at the companion's place.
refused() {
    learn 2 0 "$work/refused" dpo pairs
    expect_output "error: the reference log-probabilities in '.*' $2.*; remove the file"
    cp "$work/kept" "$kept"
    say "refused: $1"
}
printf x | dd of="$kept" bs=1 seek=200 conv=notrunc 2>/dev/null
refused "a damaged byte" "are damaged"
head -c 300 "$work/kept" >"$kept"
refused "a file cut short" "are cut short"
sed '3s/^..../0000/' "$work/kept" >"$kept"
refused "a damaged header" "are damaged"
{ sed '2s/^..../0000/' "$work/kept" && printf 'x'; } >"$kept"
refused "other tokens, and damaged" "are damaged"
learn 0 0 "$work/fresh2" dpo pairs --set train.steps=1 # control: the file as it was
expect_output "reference: .* was read from"
# The same weights, of which config.json makes another model.
cp -r "$work/base/step-000002" "$work/edited"
sed 's/"rms_norm_eps": [0-9.e-]*/"rms_norm_eps": 0.01/' "$work/base/step-000002/config.json" >"$work/edited/config.json"
learn 0 0 "$work/fresh3" dpo pairs --set train.steps=1 --set "model.path=$work/edited"
expect_output "reference: .* was computed in"
for other in "$work"/pairs.h5.reference-*; do
    [ "$other" = "$kept" ] || mv "$other" "$kept"
done
refused "another model" "are of another model"

# The token file is made again, of fewer pairs, and of as many: its reference is computed as if there were none, which is said.
prepare vote data/sample/votes.jsonl "$work/remade.h5"
learn 0 0 "$work/remade" dpo remade --set train.steps=1
kept=$(find "$work" -name "remade.h5.reference-*")
for change in 35,42d s/ai/oi/; do
    cp "$kept" "$work/kept"
    sed "$change" data/sample/votes.jsonl >"$work/votes.jsonl"
    prepare vote "$work/votes.jsonl" "$work/remade.h5"
    rm -rf "$work/remade"
    learn 0 2 "$work/remade" dpo remade --set train.steps=1
    expect_output "reference: '.*' is of other tokens, for '.*remade.h5' was made again since: it is computed anew"
    expect_output "reference: .* of '.*remade.h5' was computed in"
    ! cmp -s "$kept" "$work/kept" || fail "the reference of other pairs is the one that was there"
    cp "$kept" "$work/kept"
    rm -rf "$work/remade" "$work"/remade*.reference-*
    learn 0 2 "$work/remade" dpo remade --set train.steps=1
    ! grep -q "made again since" "$log" || fail "a reference that is not there is told to be of other tokens"
    cmp "$kept" "$work/kept" || fail "computed anew, the reference is not that of a first start"
done

# --- a signal while it is computed ---

i=0
while [ $i -lt 3000 ]; do
    printf '{"prompt": "Question %d : que faire ?", "chosen": " Il faut %d documents.", "rejected": " Il en faut %d."}\n' \
        $i $((i * 7 % 11)) $((i * 5 % 13 + 11))
    i=$((i + 1))
done >"$work/many.jsonl"
prepare pair "$work/many.jsonl" "$work/many.h5" --set prepare.valid_every=500

# learn_many CODE RANKS FOLDER [ARGUMENT...] - many pairs, few at once; with the code "later" in the background.
learn_many() {
    learn_code=$1 learn_ranks=$2 folder=$3
    shift 3
    set -- "$atelier" train "$work/from_model.yaml" --set "run.folder=$folder" --set "model.path=$work/base/step-000002" \
        --set "data.train=$work/many.h5" --set "data.valid=$work/many-valid.h5" --set data.sequence_tokens=64 \
        --set data.packing=whole --set objective.kind=dpo --set train.steps=2 --set train.micro_sequences=1 "$@"
    if [ "$learn_code" != later ]; then
        run "$learn_code" on_ranks "$learn_ranks" "$@"
        return
    fi
    [ "$learn_ranks" = 0 ] || set -- mpirun -n "$learn_ranks" "$@"
    : >"$log" # here, not when the other process comes to it: what the last run said is not this one's
    "$@" >"$log" 2>&1 &
    started=$!
}

# known - documents of the last pass that was cut short.
known() {
    sed -n 's/.*reference: cut short, because of a signal; what is known of \([0-9]*\) of .*/\1/p' "$log"
}

# cut_short SIGNAL RANKS WAIT_S - a reference pass that the signal ends so long after it began; what is known then goes to $now.
cut_short() {
    learn_many later "$2" "$work/cut-$2"
    until grep -q "reference: a forward pass .*many.h5', 0 % done" "$log"; do
        expect_running "the reference pass"
        sleep 0.02
    done
    sleep "$3"
    kill -s "$1" "$started"
    train_end 20
    expect "exit code after SIG$1" 75 "$code"
    expect_output "stopped before its first step: nothing was trained yet; start it again"
    now=$(known)
}

learn_many 0 0 "$work/many"
losses "$work/many" >"$work/many.losses"
for ranks in 0 2; do
    rm "$work"/many*.reference-*
    before=0
    for signal in USR1 TERM; do
        [ $signal = TERM ] && [ $ranks = 2 ] && signal=USR1 # mpirun takes SIGTERM as its own end
        for wait_s in 0.3 2 6; do # a busy machine may not have come to a document that is new
            cut_short $signal $ranks $wait_s
            [ "$now" -le "$before" ] || break
        done
        if [ "$now" -le "$before" ] || [ "$now" -ge 5988 ]; then
            fail "SIG$signal on $ranks ranks: $before documents were known, $now are now"
        fi
        say "SIG$signal in the reference pass on $ranks ranks: code 75, $before documents were known before it, $now after it"
        before=$now
    done
    learn_many 0 $ranks "$work/cut-$ranks"
    losses "$work/cut-$ranks" >"$work/got"
    is_within "$work/got" "$work/many.losses" 1e-5 || fail "a reference computed in parts: losses differ by $worst"
    expect_output "reference: .* of '.*many.h5' was computed in"
done
learn_many 0 0 "$work/many-again"
expect_output "reference: .* of '.*many.h5' was read from"

# --- what does not belong together ---

for objective in orpo simpo; do
    rm -f "$work"/*.reference-*
    learn 0 2 "$work/$objective" "$objective" pairs
    expect "references of $objective" 0 "$(find "$work" -name "*.reference-*" | wc -l)"
done
learn 0 0 "$work/one_label" kto one_label --set "data.valid=$work/labels-valid.h5"
expect_output "warning: every completion of data.train has the label false"
learn 0 0 "$work/two_labels" kto labels
! grep -q "has the label" "$log" || fail "a training on both labels is told to have one"
learn 2 0 "$work/wrong" sft pairs
expect_output "data.train holds pairs, and objective.kind sft learns from documents that are learnt one by one: set objective.kind to dpo"
learn 2 0 "$work/wrong" dpo fiches --set data.long_documents=cut
expect_output "data.train holds documents that are learnt one by one, and objective.kind dpo learns from pairs: set objective.kind to sft, or prepare others with a record of pair or vote$"
learn 2 0 "$work/wrong" kto pairs
expect_output "objective.kind kto learns from labelled completions: set .* to dpo, .*, or prepare others with a record of label or reaction$"
# plan CODE OBJECTIVE DATA [ARGUMENT...] - says so before.
plan() {
    plan_code=$1 objective=$2 data=$3
    shift 3
    run "$plan_code" "$atelier" plan "$work/from_model.yaml" --ranks 1 --set "run.folder=$work/wrong" \
        --set "model.path=$work/base/step-000002" --set "data.train=$work/$data.h5" --set data.packing=whole --set data.sequence_tokens=256 \
        --set data.long_documents=skip --set "objective.kind=$objective" "$@"
}
plan 2 sft pairs
expect_output "^error: data.train '.*pairs.h5' holds pairs, and objective.kind sft learns from documents that are learnt one by one"
plan 2 kto pairs
expect_output "learns from labelled completions"
plan 2 dpo later --set "prepare.output=$work/later.h5"
expect_output "later.h5' \(still to be prepared\) holds documents that are learnt one by one, and objective.kind dpo"
plan 0 dpo later --set "prepare.output=$work/later.h5" --set "prepare.sources=[{path: data/sample/votes.jsonl, record: vote}]"
plan 2 dpo later --set "prepare.output=./$work/../${work##*/}/later.h5" # another spelling of the same file
expect_output "later.h5' \(still to be prepared\) holds documents that are learnt one by one"
plan 2 dpo later --set "prepare.output=$work/later.h5" \
    --set "prepare.sources=[{path: data/sample/votes.jsonl, record: vote}, {path: data/sample/fiches.jsonl}]"
expect_output "later.h5' \(still to be prepared\) holds documents that are learnt one by one"
plan 0 dpo pairs
learn 2 0 "$work/wrong" dpo pairs --set data.long_documents=cut
expect_output "a pair is never cut"
learn 2 0 "$work/wrong" dpo pairs --set data.packing=stream --set data.long_documents=null
expect_output "set data.packing to whole"
learn 2 0 "$work/wrong" dpo pairs --set objective.loss=ipo --set objective.label_smoothing=0.1
expect_output "label_smoothing' is 0.1, which would have no effect"
learn 2 0 "$work/wrong" orpo pairs --set objective.loss=ipo
expect_output "'objective.loss' is ipo, which would have no effect: it is read only with objective.kind: dpo"
train 2 0 "$work/wrong" --set objective.kind=dpo --set data.packing=whole
expect_output "a new model has nothing to compare with"
learn 2 0 "$work/dpo" sft pairs
expect_output "objective.kind"
say "refusals are by name"
