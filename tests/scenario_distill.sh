#!/bin/sh
# scenario_distill.sh - from a teacher to a student: the file of the teacher's log-probabilities is the same made at once and in
# parts; a model that learns from itself is at no distance from itself at first, and from another one it is; losses, distances
# included, are those of one rank on 2, 3 and 4, at every stage and with accumulation; with a share of 0 they are those of sft; a run
# that goes on has the bits of one that was never stopped; an adapter learns too; 'plan' counts the teacher's memory; another temperature, other
# tokens, too few tokens of each place, a file that is cut or damaged, and a run file without a teacher are refused by name.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario distill
prepare_sample

# --- teachers ---

train 0 0 "$work/large" --set train.steps=12 --set optimizer.learning_rate=4e-3
train 0 0 "$work/start" --set train.steps=1 --set run.seed=8
large=$work/large/step-000012
start=$work/start/step-000001

# teach CODE MODEL FILE [ARGUMENT...] - contexts as the runs have them.
teach() {
    teach_code=$1 model=$2 file=$3
    shift 3
    run "$teach_code" "$atelier" eval "$model" --data "$work/fiches.h5" --output "$file" --sequence-tokens 64 "$@"
}
teach 0 "$large" "$work/large.teacher" --top-k 16 --temperature 2
expect_output "the 16 most probable tokens of [0-9]+ places, by the model [0-9a-f]{12}; together they have [0-9.]+ % of the probability"
[ ! -e "$work/large.teacher.partial" ] || fail "nothing of a file that is whole should be left beside it"
teach 0 "$start" "$work/start.teacher" --top-k 16 --temperature 2 --json
places=$(json_number places "$log")

# An earlier start that was killed: the last rows are missing, and the first are believed.
size=$(stat -c %s "$work/start.teacher")
sed '1s/"state":"whole"/"state":"begun"/' "$work/start.teacher" >"$work/again.teacher.partial"
cp "$work/again.teacher.partial" "$work/begun.teacher.partial"
dd if=/dev/zero of="$work/again.teacher.partial" bs=1 seek=$((size - 5000)) count=5000 conv=notrunc 2>/dev/null
teach 2 "$large" "$work/again.teacher" --top-k 16 --temperature 2
expect_output "again.teacher.partial' was begun by another model, or with other tokens or options"
teach 0 "$start" "$work/again.teacher" --top-k 16 --temperature 2 --json
found=$(json_number found "$log")
{ [ "$found" -gt 0 ] && [ "$found" -lt "$places" ]; } || fail "$found of $places places should have been there"
cmp "$work/start.teacher" "$work/again.teacher" || fail "a file that was made in parts is another one"

# What is there already is never replaced: the same file is done, anything else is refused, the token file above all.
cp "$work/start.teacher" "$work/kept.teacher"
teach 0 "$start" "$work/start.teacher" --top-k 16 --temperature 2
expect_output "start.teacher' is there already: the 16 most probable tokens of $places places"
teach 2 "$large" "$work/start.teacher" --top-k 16 --temperature 2
expect_output "start.teacher' is there already, made by another model: name another output, or remove it"
teach 2 "$start" "$work/start.teacher" --top-k 16
expect_output "start.teacher' is there already, made with another --temperature"
cmp "$work/start.teacher" "$work/kept.teacher" || fail "a finished file was written to"
cp "$work/fiches.h5" "$work/kept.h5"
teach 2 "$start" "$work/fiches.h5" --top-k 16
expect_output "\-\-output: '.*fiches.h5' is the token file itself"
cmp "$work/fiches.h5" "$work/kept.h5" || fail "the token file was written to"
teach 2 "$start" "$work/kept.h5" --top-k 16
expect_output "\-\-output: the output must not exist, or be the same file, made earlier: '.*kept.h5' is not what"
cmp "$work/fiches.h5" "$work/kept.h5" || fail "a file that is no teacher's was written to"
dd if=/dev/zero of="$work/kept.teacher" bs=1 seek=$((size - 5000)) count=5000 conv=notrunc 2>/dev/null
teach 1 "$start" "$work/kept.teacher" --top-k 16 --temperature 2
expect_output "kept.teacher' is there already, but is damaged"
teach 2 "$start" "" --top-k 16
expect_output "\-\-output: the output has no name"
teach 2 "$large" "$work/none.teacher"
expect_output "\-\-top-k and --output go together"
teach 2 "$large" "$work/none.teacher" --top-k 16 --sequences 3
expect_output "\-\-top-k is for all of the token file"

# --- students ---

sed '/^model:/,/^$/d' "$tiny" >"$work/from_model.yaml"

# learn CODE RANKS FOLDER TEACHER [ARGUMENT...] - documents whole, so that both have read the same before each token.
learn() {
    learn_code=$1 learn_ranks=$2 folder=$3 teacher=$4
    shift 4
    run "$learn_code" on_ranks "$learn_ranks" "$atelier" train "$work/from_model.yaml" --set "run.folder=$folder" \
        --set "model.path=$start" --set "data.train=$work/fiches.h5" --set "data.valid=$work/fiches-valid.h5" \
        --set data.packing=whole --set objective.kind=distill --set "objective.teacher=$teacher" \
        --set objective.temperature=2 --set objective.top_k=16 --set train.steps=6 "$@"
}

# values NAME FOLDER - of every step, as losses() has them.
values() {
    sed -n "s/^{\"step\": \([0-9]*\), .*\"$1\": \([^,]*\),.*/\1 \2/p" "$2/metrics.jsonl"
}

learn 0 0 "$work/alone" "$work/large.teacher" --set valid.every_steps=3
expect_output "teacher: '.*large.teacher' by the model [0-9a-f]{12}, 16 of its 16 tokens of each place, temperature 2"
grep -q "^last step     cross-entropy [0-9.]*, KL from the teacher [0-9.]*$" "$work/alone/summary.txt" ||
    fail "the summary should tell cross-entropy and KL"
for name in loss cross_entropy kl; do
    values $name "$work/alone" >"$work/alone_$name"
done
paste -d' ' "$work/alone_cross_entropy" "$work/alone_kl" | awk '{ printf "%s %.17g\n", $1, 0.5 * $2 + 0.5 * 4 * $4 }' >"$work/mixed"
losses "$work/alone" >"$work/alone_loss"
is_within "$work/mixed" "$work/alone_loss" 1e-9 || fail "the loss is not what the two parts mix to"
awk 'NR == 1 { first = $2 } END { exit !($2 < 0.9 * first) }' "$work/alone_kl" || fail "the student does not come nearer"
expect "validation is the plain loss" 3 "$(grep -c '"event": "validation"' "$work/alone/metrics.jsonl")"

grep -q '"teachers": \[' "$work/alone/step-000006/provenance.json" || fail "provenance.json should name the teacher"
grep -Eq "^\| Teacher \| step-000012, SHA-256 [0-9a-f]{64} \|" "$work/alone/step-000006/README.md" ||
    fail "the model card should name the teacher"

# To itself a model has no distance at first; the control is the other teacher.
learn 0 0 "$work/itself" "$work/start.teacher" --set train.steps=1
kl=$(values kl "$work/itself" | cut -d' ' -f2)
awk -v kl="$kl" 'BEGIN { exit !(kl < 1e-6 && kl > -1e-6) }' || fail "a model has a distance of $kl to itself"
awk 'NR == 1 { exit !($2 > 1e-2) }' "$work/alone_kl" || fail "another model should have one"

# same WHAT FOLDER - losses and distances as those of one rank.
same() {
    losses "$2" >"$work/other_loss"
    values kl "$2" >"$work/other_kl"
    is_within "$work/alone_loss" "$work/other_loss" 1e-5 || fail "$1: losses differ by $worst"
    is_within "$work/alone_kl" "$work/other_kl" 1e-4 || fail "$1: distances differ by $worst"
}
for stage in 0 1 2 3; do
    learn 0 2 "$work/stage$stage" "$work/large.teacher" --set "parallel.stage=$stage" --set train.micro_sequences=1
    same "two ranks, stage $stage" "$work/stage$stage"
done
learn 0 3 "$work/three" "$work/large.teacher" # two of them have a micro-batch of padding alone
same "three ranks" "$work/three"
learn 0 4 "$work/four" "$work/large.teacher" --set train.recompute=layer
same "four ranks" "$work/four"
learn 0 0 "$work/micro" "$work/large.teacher" --set train.micro_sequences=8
same "without accumulation" "$work/micro"

# Another teacher, and fewer of its tokens, are other losses; a share of 0 is sft.
learn 0 0 "$work/other" "$work/start.teacher"
losses "$work/other" >"$work/other_loss"
is_within "$work/alone_loss" "$work/other_loss" 1e-3 && fail "another teacher should be another loss"
learn 0 0 "$work/fewer" "$work/large.teacher" --set objective.top_k=4
values kl "$work/fewer" >"$work/fewer_kl"
paste -d' ' "$work/fewer_kl" "$work/alone_kl" | awk 'NR == 1 { exit !($2 < $4 && $2 > 0) }' ||
    fail "fewer outcomes are at a smaller distance"
learn 0 0 "$work/unshared" "$work/large.teacher" --set objective.teacher_share=0
run 0 "$atelier" train "$work/from_model.yaml" --set "run.folder=$work/sft" --set "model.path=$start" \
    --set "data.train=$work/fiches.h5" --set data.packing=whole --set train.steps=6
losses "$work/unshared" >"$work/unshared_loss"
losses "$work/sft" >"$work/sft_loss"
is_within "$work/unshared_loss" "$work/sft_loss" 1e-6 || fail "a share of 0 differs from sft by $worst"

# Two token files, whose teachers are listed in the other order: each is found by the contents of its file.
run 0 "$atelier" eval "$large" --data "$work/fiches-valid.h5" --output "$work/valid.teacher" --sequence-tokens 64 --top-k 20 \
    --temperature 2
learn 0 2 "$work/files" "[$work/valid.teacher, $work/large.teacher]" --set "data.train=[$work/fiches.h5, $work/fiches-valid.h5]"
[ "$(grep -c "^teacher: " "$work/files/log.txt")" = 2 ] || fail "the log should name both teachers"
# Two files with the same contents, and one listed twice, share a teacher; two teachers are two of each.
cp "$work/fiches.h5" "$work/copy.h5"
learn 0 0 "$work/copies" "$work/large.teacher" --set "data.train=[$work/fiches.h5, $work/copy.h5, $work/fiches.h5]" --set train.steps=2
[ "$(grep -c "^teacher: " "$work/copies/log.txt")" = 1 ] || fail "the log should name the teacher once"

# A run that goes on, on another number of ranks too.
learn 0 0 "$work/parts" "$work/large.teacher" --set train.steps=3
learn 0 0 "$work/parts" "$work/large.teacher"
losses "$work/parts" >"$work/parts_loss"
expect "the teacher of both starts" 1 "$(grep -c '"top_k": 16' "$work/parts/step-000006/provenance.json")"
grep -q "objective.teacher: the teacher of" "$log" && fail "the teacher is the same one"
cmp "$work/alone_loss" "$work/parts_loss" || fail "a run in two parts has other losses"
cp "$work/large.teacher" "$work/swapped.teacher"
learn 0 0 "$work/swapped" "$work/swapped.teacher" --set train.steps=3
cp "$work/start.teacher" "$work/swapped.teacher"
learn 0 0 "$work/swapped" "$work/swapped.teacher" --set train.steps=4
expect_output "objective.teacher: the teacher of '.*fiches.h5' was the model [0-9a-f]{12} with texts of up to 64 tokens, is now"

# An adapter on a frozen model; 16-bit activations.
learn 0 2 "$work/adapter" "$work/large.teacher" --set adapter.method=lora --set optimizer.learning_rate=1e-2
values kl "$work/adapter" | awk 'NR == 1 { first = $2 } END { exit !($2 < first) }' || fail "an adapter does not learn"
learn 0 0 "$work/bf16" "$work/large.teacher" --set train.compute=bf16
losses "$work/bf16" >"$work/bf16_loss"
is_within "$work/alone_loss" "$work/bf16_loss" 2e-2 || fail "in bf16 losses differ by $worst"

run 0 "$atelier" plan "$work/from_model.yaml" --ranks 1 --set "model.path=$start" --set "data.train=$work/fiches.h5" \
    --set objective.kind=distill --set "objective.teacher=$work/large.teacher" --set objective.top_k=16 --set objective.temperature=2
expect_output "objective +distill: of each token the 16 that the teacher finds most probable"

# --- what does not fit ---

# refuse TEACHER [ARGUMENT...] - by `train` as above; what it refuses, `plan` refuses with the same words.
refuse() {
    learn 2 0 "$work/bad" "$@"
    refused=$(grep "^error: " "$log")
    teacher=$1
    shift
    run 2 timeout 60 "$atelier" plan "$work/from_model.yaml" --ranks 1 --set "run.folder=$work/bad" --set "model.path=$start" \
        --set "data.train=$work/fiches.h5" --set objective.kind=distill --set "objective.teacher=$teacher" \
        --set objective.temperature=2 --set objective.top_k=16 "$@"
    expect "what a plan refuses" "$refused" "$(grep "^error: " "$log")"
}

refuse "$work/large.teacher" --set objective.temperature=1
expect_output "large.teacher' was made at temperature 2, and objective.temperature is 1"
refuse "$work/large.teacher" --set objective.top_k=17
expect_output "large.teacher' has 16 tokens of each place, and objective.top_k is 17"
refuse "$work/large.teacher" --set "data.train=$work/fiches-valid.h5"
expect_output "large.teacher' was made of other tokens, or by another tokenizer"
refuse "$work/large.teacher" --set "data.train=[$work/fiches.h5, $work/fiches-valid.h5]"
expect_output "no file of objective.teacher was made of '.*fiches-valid.h5'"
refuse "[$work/large.teacher, $work/start.teacher]"
expect_output "start.teacher' is a second teacher of '.*fiches.h5'"
refuse "[$work/large.teacher, $work/start.teacher]" --set "data.train=[$work/fiches.h5, $work/copy.h5]"
expect_output "start.teacher' is a second teacher of '.*fiches.h5'"
refuse "$work/fiches.h5"
expect_output "objective.teacher: '.*fiches.h5' is not what 'atelier eval --top-k' writes"
refuse null
expect_output "'objective.kind' distill learns from a teacher: set objective.teacher"
refuse "$work/large.teacher" --set objective.kind=sft
expect_output "objective.teacher.* would have no effect"
head -c $((size - 100)) "$work/large.teacher" >"$work/cut.teacher"
refuse "$work/cut.teacher"
expect_output "cut.teacher' is not what .*: it has [0-9]+ bytes where [0-9]+ belong"
cp "$work/large.teacher" "$work/damaged.teacher"
dd if=/dev/urandom of="$work/damaged.teacher" bs=1 seek=$((4096 + 9)) count=$((size - 4096 - 9)) conv=notrunc 2>/dev/null
refuse "[$work/large.teacher, $work/large.teacher]"
expect_output "large.teacher' is a second teacher of '.*fiches.h5'"
refuse "$work/begun.teacher.partial"
expect_output "begun.teacher.partial' was begun and is not finished: go on with 'atelier eval .* --output .*begun.teacher --top-k 16"
sed '1s/"vocab_size":[0-9]/"vocab_size":9/' "$work/large.teacher" >"$work/wide.teacher"
cmp -s "$work/large.teacher" "$work/wide.teacher" && fail "the vocabulary should be another one"
refuse "$work/wide.teacher"
expect_output "wide.teacher' says that it is of [0-9]+ tokens of a vocabulary of 9[0-9]+, and '.*fiches.h5'.* its header is damaged"
refuse "$work/absent.teacher"
expect_output "objective.teacher: .*absent.teacher'"
mkfifo "$work/fifo.teacher"
refuse "$work/fifo.teacher"
expect_output "objective.teacher: .*fifo.teacher'"
# Where the tokens are still to be prepared, so is the teacher; one that is there must fit all the same.
plan_unprepared() {
    run "$1" "$atelier" plan "$work/from_model.yaml" --ranks 1 --set "model.path=$start" --set "data.train=$work/later.h5" \
        --set objective.kind=distill --set "objective.teacher=[$work/later.teacher, $work/large.teacher]" \
        --set objective.top_k=16 --set "objective.temperature=$2"
}
plan_unprepared 0 2
plan_unprepared 2 1
expect_output "large.teacher' was made at temperature 2"
learn 1 2 "$work/damaged" "$work/damaged.teacher"
expect_output "damaged.teacher' has nothing sound for token [0-9]+: the row is missing or damaged"
say "a student learns from a teacher's file: the same on 1 to 4 ranks, distance to itself $kl"
