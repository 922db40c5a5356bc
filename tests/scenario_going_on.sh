#!/bin/sh
# scenario_going_on.sh - a run that is started again with something changed: what makes it another run is refused with the
# old and the new value and the way out, what changes its course is said before and after, the rest in one line.  Data are
# compared by what they hold and in which order; another base model, fewer steps, a finished run, a moved folder and a second
# run file of the same name are told.  A lost `latest` leads neither to an abandoned line nor to step 1, and logs only grow.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario going_on

# --- data: two files, one of them made anew with its documents reversed ---

head -n 20 data/sample/fiches.jsonl >"$work/a.jsonl"
tail -n 20 data/sample/fiches.jsonl >"$work/b.jsonl"
awk '{ line[NR] = $0 } END { for (i = NR; i > 0; i--) print line[i] }' "$work/a.jsonl" >"$work/r.jsonl"
for name in a b r; do
    printf 'prepare:\n  tokenizer: data/sample/tokenizer\n  output: %s\n  deduplicate: false\n  sources: [{path: %s, licence: none}]\n' \
        "$work/$name.h5" "$work/$name.jsonl" >"$work/$name.yaml"
    run 0 "$atelier" prepare "$work/$name.yaml"
done

# go WANTED_CODE FOLDER DATA [ARGUMENT...] - the tiny run on data.train=DATA.
go() {
    go_code=$1 go_folder=$2 go_data=$3
    shift 3
    run "$go_code" "$atelier" train "$tiny" --set "run.folder=$go_folder" --set "data.train=$go_data" \
        --set train.steps=8 --set checkpoint.every_steps=4 "$@"
}
# files A WEIGHT B WEIGHT - a list for data.train.
files() {
    echo "[{path: $work/$1.h5, weight: $2}, {path: $work/$3.h5, weight: $4}]"
}
# listing FOLDER - every file with its size and contents: what a refusal must not touch.
listing() {
    (cd "$1" && find . -type f ! -name lock -exec cksum {} + | sort)
}

go 0 "$work/half" "$(files a 1 b 1)" --set train.steps=4
# refused PATTERN DATA [ARGUMENT...] - code 2 with this said, and the run folder is as it was.
refused() {
    pattern=$1 data=$2
    shift 2
    before=$(listing "$work/half")
    go 2 "$work/half" "$data" "$@"
    expect_output "^error: .*$pattern"
    expect "files after a refusal" "$before" "$(listing "$work/half")"
}
refused 'has other weights: the share of .*a.h5. was 50 %, it is now 10 %' "$(files a 1 b 9)"
refused 'has other weights: the share of .*a.h5. was 50 %, it is now 50.0001 %' "$(files a 500001 b 499999)"
refused 'files in another order: .*b.h5. is now file 1 and was file 2' "$(files b 1 a 1)"
refused 'reads other tokens: file 1, .*r.h5., does not hold what .*a.h5. held' "$(files r 1 b 1)"
cp "$work/a.h5" "$work/kept.h5" && cp "$work/r.h5" "$work/a.h5"
refused 'reads other tokens: file 1' "$(files a 1 b 1)"
expect_output "checkpoint.from: $work/half"
cp "$work/kept.h5" "$work/a.h5"
refused 'had 2 files, it now has 1' "[{path: $work/a.h5}]"
refused 'trained with run.seed 7, the run file now says 8' "$(files a 1 b 1)" --set run.seed=8
refused 'trained with train.batch_sequences 8, the run file now says 4' "$(files a 1 b 1)" --set train.batch_sequences=4
refused 'trained with data.packing auto, the run file now says whole' "$(files a 1 b 1)" --set data.packing=whole
refused 'trained with model.save_dtype source, the run file now says f16' "$(files a 1 b 1)" --set model.save_dtype=f16
expect_output "checkpoint.from: $work/half@4$"
refused 'trained with model.architecture.layers 2, the run file now says 3: .*set it back, or choose another run.folder$' \
    "$(files a 1 b 1)" --set model.architecture.layers=3
refused 'trained with optimizer.kind adamw, the run file now says muon: .*set it back, or choose another run.folder: ' \
    "$(files a 1 b 1)" --set optimizer.kind=muon
expect_output "the weights alone are taken with model.path: $work/half/step-000004 in place of model.architecture and model.tokenizer$"
refused 'train.steps is 3, and .*step-000004. has 4' "$(files a 1 b 1)" --set train.steps=3
cp -r "$work/half" "$work/same"
go 0 "$work/same" "$(files kept 2 b 2)" # control: renamed, the same contents, order and shares
expect_output "data.train: '.*/a.h5' is now '.*/kept.h5', with the same contents"
expect_output "'$work/same' is a copy of '.*/half', which is still there"
go 0 "$work/straight" "$(files a 1 b 1)"
expect "losses after a rename" "$(losses "$work/straight")" "$(losses "$work/same")"
say "other weights, order, contents, number of files, seed, batch, packing, layers, optimizer: refused, nothing touched; renamed: said"

# --- the course ---

cp -r "$work/half" "$work/course"
go 0 "$work/course" "$(files a 1 b 1)" --set train.steps=6 --set optimizer.learning_rate=2e-3 \
    --set schedule.warmup_steps=5 --set optimizer.beta2=0.9 --set run.log_every=2 --set train.micro_sequences=4
expect_output '^train.steps was 4, is now 6$'
expect_output '^optimizer.learning_rate was 0.001, is now 0.002$'
expect_output '^optimizer.beta2 was 0.95, is now 0.9$'
expect_output '^schedule.warmup_steps was 0, is now 5$'
expect_output '^changed since the checkpoint: run.log_every 1 -> 2, train.micro_sequences 2 -> 4$'
cp -r "$work/half" "$work/rate"
go 0 "$work/rate" "$(files a 1 b 1)" --set schedule.kind=linear --set schedule.final_ratio=0
expect_output '^schedule.kind was constant, is now linear$'
before=$(listing "$work/rate")
go 0 "$work/rate" "$(files a 1 b 1)" --set schedule.kind=linear --set schedule.final_ratio=0
expect_output "^'$work/rate' is done already: all 8 steps are trained, the model is .*step-000008.*raise train.steps"
expect "files after a second start of a finished run" "$before" "$(listing "$work/rate")"
say "steps, rate, warm-up, betas, kind: said before and after; a finished run says so and touches nothing"

# --- the base model ---

base() { # WANTED_CODE FOLDER MODEL [ARGUMENT...]
    base_code=$1 base_folder=$2 base_model=$3
    shift 3
    run "$base_code" "$atelier" train --set "run.folder=$base_folder" --set "model.path=$base_model" --set "data.train=$work/a.h5" \
        "$work/base.yaml" "$@"
}
printf 'run: {threads: 1}\ndata: {sequence_tokens: 64}\ntrain: {steps: 4, batch_sequences: 4}\ncheckpoint: {every_steps: 2, keep: 0}\n' >"$work/base.yaml"
cp -r data/sample/model "$work/model"
base 0 "$work/tuned" "$work/model" --set train.steps=2
base 2 "$work/tuned" "$work/absent"
expect_output "trained with model.path .*/model, the run file now says .*/absent: .*another run.folder"
base 2 "$work/tuned" "$work/half"
expect_output "trained with model.path .*/model, the run file now says .*/half"
base 2 "$work/tuned" "$work/model" --set optimizer.kind=muon
expect_output "another run.folder: the weights alone are taken with model.path: $work/tuned/step-000002$"
mv "$work/model" "$work/renamed"
base 0 "$work/tuned" "$work/renamed"
expect_output "model.path: '.*/model' is now '.*/renamed', the same model"
base 0 "$work/muon" "$work/tuned/step-000002" --set optimizer.kind=muon # the advice, and that of the refusals above
base 0 "$work/weights" "$work/half/step-000004" --set optimizer.kind=muon
expect "steps from the weights alone" "1 2 3 4" "$(losses "$work/weights" | cut -d ' ' -f 1 | tr '\n' ' ' | sed 's/ $//')"
say "another base model, or one that is not there: refused; the same under another name: said"

# --- which checkpoint ---

go 0 "$work/line" "$work/a.h5" --set checkpoint.keep=0
echo step-000004 >"$work/line/latest"
go 0 "$work/line" "$work/a.h5" --set checkpoint.keep=2 --set train.steps=6 --set optimizer.learning_rate=3e-3
expect_output 'goes on from step 4, the run had saved step 8 last: a new line begins here'
expect "steps of the line" "1 2 3 4 5 6" "$(losses "$work/line" | cut -d ' ' -f 1 | tr '\n' ' ' | sed 's/ $//')"
expect "steps 5 to 8 of the line that was left are still in the log" 2 "$(grep -c '^{"step": 6,' "$work/line/metrics.jsonl")"
[ -d "$work/line/step-000008" ] || fail "the line that was left lost its checkpoint"
rm "$work/line/latest"
cp -r "$work/line" "$work/lost"
go 0 "$work/lost" "$work/a.h5" --set train.steps=7 --set optimizer.learning_rate=3e-3
expect_output "latest' is missing: '.*step-000006' is taken"
expect_output "resumed from '.*step-000006' after step 6"
echo rubbish >"$work/line/latest"
go 2 "$work/line" "$work/a.h5" --set train.steps=7
expect_output 'latest. is damaged.*step-000006 .the run.s own line.*step-000008 .an abandoned line.'
echo step-000008 >"$work/line/latest"
mv "$work/line/step-000008" "$work/line/gone"
go 2 "$work/line" "$work/a.h5"
expect_output 'names step-000008, which is not there; complete are step-000006'
rm -rf "$work/line"/step-* "$work/line/latest"
go 2 "$work/line" "$work/a.h5"
expect_output 'none of its checkpoints is left'
go 0 "$work/line" "$work/a.h5" --set checkpoint.resume=never
expect_output 'checkpoint.resume is never: the run starts anew at step 1'
say "going back begins a new line, a lost latest follows it, a damaged one is refused with the choices; logs only grow"

# --- a new line in another folder ---

go 0 "$work/branch" "$work/b.h5" --set "checkpoint.from=$work/half@4" --set run.seed=9
expect_output "a new line of history, from '$work/half/step-000004'"
expect_output '^run.seed was 7, is now 9$'
expect_output 'data.train reads other tokens|data.train has its files in another order'
expect_output 'data are read from their beginning: their order is a new one from step 5'
expect "steps of the new line" "5 6 7 8" "$(losses "$work/branch" | cut -d ' ' -f 1 | tr '\n' ' ' | sed 's/ $//')"
grep -q '"parent": {"step": 4, "id": "[0-9a-f]*"}' "$work/branch/history.jsonl" || fail "the new line does not name its parent"
go 0 "$work/branch" "$work/b.h5" --set "checkpoint.from=$work/half@4" --set run.seed=9 --set train.steps=9
expect_output "resumed from '$work/branch/step-000008' after step 8"
go 2 "$work/half" "$(files a 1 b 1)" --set "checkpoint.from=$work/branch"
expect_output 'read only while run.folder has no checkpoint'
go 2 "$work/none" "$work/b.h5" --set "checkpoint.from=$work/half@3"
expect_output 'has no complete checkpoint of step 3.*; complete are step-0000'
go 2 "$work/none" "$work/a.h5" --set "checkpoint.from=$work/half" --set model.architecture.layers=3
expect_output 'trained with model.architecture.layers 2'
go 2 "$work/none" "$work/a.h5" --set "checkpoint.from=$work/half" --set optimizer.kind=muon
expect_output "leave checkpoint.from out: the weights alone are taken with model.path: $work/half/step-000004 in place of model.architecture and model.tokenizer$"
[ ! -e "$work/none/step-000004" ] || fail "a refused line wrote a checkpoint"
number=0 # control: what a refusal sends to a new line is taken there
for changed in model.save_dtype=f16 train.batch_sequences=4 data.packing=whole data.sequence_tokens=32; do
    number=$((number + 1))
    go 2 "$work/half" "$(files a 1 b 1)" --set "$changed"
    expect_output "trained with ${changed%=*} .*go on from here in another run.folder with checkpoint.from: $work/half@4$"
    go 0 "$work/line$number" "$(files a 1 b 1)" --set "$changed" --set "checkpoint.from=$work/half@4" --set train.steps=5
    expect_output "^${changed%=*} was "
done
say "checkpoint.from: a new line of history, which may read other data and keeps its model"

# --- whose folder it is ---

mv "$work/same" "$work/moved"
go 0 "$work/moved" "$(files kept 2 b 2)" --set train.steps=9
expect_output "'$work/moved' was '.*/same' when it was last trained: it was moved"
mkdir "$work/one" "$work/two"
for folder in one two; do
    sed "s|tokenizer: data|tokenizer: $PWD/data|" "$tiny" >"$work/$folder/same.yaml"
done
program=$(cd "$(dirname "$atelier")" && pwd)/atelier
named() { # WANTED_CODE RUN_FILE [ARGUMENT...] - with the folder that follows from the run file's name
    named_code=$1 named_file=$2
    shift 2
    run "$named_code" env -C "$work" "$program" train "$named_file" --set "data.train=a.h5" --set train.steps=2 "$@"
}
named 0 one/same.yaml
named 2 two/same.yaml
expect_output "'runs/same' is the run of '.*/one/same.yaml': the run file '.*/two/same.yaml' has the same name"
named 0 one/same.yaml --set train.steps=3 # control: the first one goes on
mv "$work/runs" "$work/one" "$work/two" "$work/a.h5" "$work/half/"
run 0 env -C "$work/half" "$program" train one/same.yaml --set data.train=a.h5 --set train.steps=4 # moved as a whole
say "a moved folder is told, a second run file of the same name is refused"
