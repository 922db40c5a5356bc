#!/bin/sh
# scenario_tasks.sh - questions with choices as a user asks them: the same numbers on 1 to 4 ranks, to the last digit; what is
# longer than the sequence, or has no tokens, is counted and named; words and files that do not fit are refused before a model
# is read.  Controls: another model, another order of choices.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario tasks
model=data/sample/model
items=$work/items.jsonl

# ask WANTED_CODE NUM_RANKS [ARGUMENT...] - the sample model, about these items.
ask() {
    ask_code=$1 ask_ranks=$2
    shift 2
    run "$ask_code" on_ranks "$ask_ranks" "$atelier" eval "$model" --tasks "$items" "$@"
}

cat >"$items" <<'END'
{"id": "piece", "query": "Pour demander une carte d'identité, il faut", "choices": ["un justificatif de domicile", "une voiture", "du pain"], "gold": 0, "group": "démarches"}
{"id": "ville", "query": "Le dossier se dépose à la ", "choices": ["mairie", "plage", "forêt"], "gold": 0, "group": "démarches"}
{"id": 3, "query": "Question : qui délivre le passeport ?\nA. la mairie\nB. le boulanger\nRéponse :", "choices": ["A", "B"], "gold": 0, "group": "lettres"}
{"id": 4, "query": "", "choices": ["La demande", "été été été"], "gold": 0, "group": "lettres"}
{"id": 5, "query": "Le délai est de", "choices": ["deux mois", "deux", "deux mois et demi", "trois\u00a0ans"], "gold": 1, "group": "lettres"}
END

# --- the same on any number of ranks ---

ask 0 0 --json --output "$work/alone.jsonl"
cp "$log" "$work/alone.json"
expect "lines of --output" 5 "$(wc -l <"$work/alone.jsonl")"
expect "log-probabilities" 14 "$(grep -o '"logp":-' "$work/alone.jsonl" | wc -l)"
grep -q '"chars":27,"bytes":27' "$work/alone.jsonl" || fail "lengths of the first choice"
grep -q '"chars":9,"bytes":10' "$work/alone.jsonl" || fail "'trois ans' has 9 code points and 10 bytes"
for ranks in 1 2 3 4; do
    ask 0 "$ranks" --json --output "$work/$ranks.jsonl"
    cmp "$work/alone.jsonl" "$work/$ranks.jsonl" || fail "$ranks ranks say other log-probabilities"
    cmp "$work/alone.json" "$log" || fail "$ranks ranks say other results"
done
rm "$work/2.jsonl"
ask 0 2 --output "$work/2.jsonl" --sequence-tokens 48
expect_output "^all  *5 "
strip() { # what was chosen, without the numbers
    sed 's/"choices":.*//' "$1"
}
[ "$(strip "$work/2.jsonl")" = "$(strip "$work/alone.jsonl")" ] || fail "other forwards, other choices"
cmp -s "$work/2.jsonl" "$work/alone.jsonl" && fail "other forwards should show in the last digits"

# Each line says whether the choice is right, and which it is: together they make the mean, and the choice is right where it is gold.
sed -n 's/.*"gold":\([0-9]*\),"acc":[01],"acc_norm":\([01]\),.*"chosen":{"acc":[0-9]*,"acc_norm":\([0-9]*\),.*/\1 \2 \3/p' "$work/alone.jsonl" >"$work/answers"
expect "lines with an answer" "$(grep -c . "$work/alone.jsonl")" "$(grep -c . "$work/answers")"
expect "answers that are right as the choice is" 0 "$(awk '$2 != ($1 == $3)' "$work/answers" | wc -l)"
expect "the mean of the answers" "$(sed -n '/"all"/,/}/p' "$work/alone.json" | sed -n 's/.*"acc_norm": \([0-9.]*\).*/\1/p')" \
    "$(awk '{ n += $2 } END { print n / NR }' "$work/answers")"

# Controls: the choices turned round are other items, and another model says other numbers.
sed 's/"mairie", "plage"/"plage", "mairie"/' "$items" >"$work/turned.jsonl"
run 0 "$atelier" eval "$model" --tasks "$work/turned.jsonl" --output "$work/turned.out"
[ "$(sed -n 2p "$work/turned.out")" != "$(sed -n 2p "$work/alone.jsonl")" ] || fail "choices turned round should show"
expect "the others" "$(sed 2d "$work/alone.jsonl")" "$(sed 2d "$work/turned.out")"

# --- examples before the questions: the same on any number of ranks, as if they had been written there ---

ask 0 0 --shots 1 --shots-order first --json --output "$work/shots.jsonl"
grep -q '"order": "first"' "$log" || fail "the results do not say what stood before the questions"
ask 0 2 --shots 1 --shots-order first --output "$work/shots-2.jsonl"
cmp "$work/shots.jsonl" "$work/shots-2.jsonl" || fail "two ranks put other examples before the questions"
one='Pour demander une carte d'"'"'identité, il faut un justificatif de domicile'
sed -n "2s/\"query\": \"/&$one\\\\n\\\\n/p" "$items" >"$work/written.jsonl"
grep -qF "$one\n\nLe dossier" "$work/written.jsonl" || fail "the example was not written"
run 0 "$atelier" eval "$model" --tasks "$work/written.jsonl" --output "$work/written.out"
expect "an example drawn and one that is written" "$(cat "$work/written.out")" "$(sed -n 2p "$work/shots.jsonl")"
[ "$(sed -n 2p "$work/alone.jsonl")" != "$(sed -n 2p "$work/shots.jsonl")" ] || fail "an example should show"
cp "$items" "$work/pool.jsonl"
ask 0 0 --shots 1 --shots-order first --shots-from "$work/pool.jsonl" --output "$work/shots-pool.jsonl"
cmp "$work/shots.jsonl" "$work/shots-pool.jsonl" || fail "a copy of the file is another pool"

# --- the type and the device that are asked for; controls: f32 is what it is without a word ---

for type in f32 stored bf16; do
    ask 0 0 --type "$type" --output "$work/$type.jsonl"
done
cmp "$work/alone.jsonl" "$work/f32.jsonl" || fail "--type f32 is not what it is without a word"
cmp -s "$work/alone.jsonl" "$work/bf16.jsonl" && fail "--type bf16 changes nothing"
expect "log-probabilities in bf16" "$(grep -c . "$work/alone.jsonl")" "$(grep -c . "$work/bf16.jsonl")"
[ "$(strip "$work/stored.jsonl")" = "$(strip "$work/alone.jsonl")" ] || fail "--type stored takes other choices"
ask 2 0 --device cuda --type stored
expect_output "error: 'stored' is for processors"
if ! nvidia-smi >/dev/null 2>&1; then
    ask 2 2 --device cuda
    expect_output "error: --device cuda: "
    expect "errors of two ranks" 1 "$(grep -c 'error: ' "$log")"
fi

# --- files ---

gzip -c "$items" >"$work/items.jsonl.gz"
run 0 "$atelier" eval "$model" --tasks "$items" --tasks "$work/items.jsonl.gz" --json
grep -q '"items": 10,' "$log" || fail "two files are ten items"
ask 0 0 --results "$work/results.json" --json
cmp "$log" "$work/results.json" || fail "--results is what --json prints"
ask 0 2 --results "$work/results.json"
expect_output "^démarches  *2 "
expect_output "^lettres  *3 "
cmp -s "$work/alone.json" "$work/results.json" || fail "--results is not the same on two ranks"

# --- what is left out ---

cat >"$work/odd.jsonl" <<END
{"id": "long", "query": "$(head -c 2000 /dev/zero | tr '\0' x)", "choices": ["a", "b"], "gold": 0}
{"id": "court", "query": "Le", "choices": ["dossier", "chat"], "gold": 0}
END
run 0 "$atelier" eval "$model" --tasks "$work/odd.jsonl" --sequence-tokens 64 --output "$work/odd.out"
expect_output "warning: 1 of 2 items are longer than 64 tokens .* item 'long' \(line 1 of '.*odd.jsonl'\) is the first"
expect_output "^all  *1 "
grep -q '^{"id":"long","group":"odd.jsonl","left_out":"too_long"}$' "$work/odd.out" || fail "what was left out should be told"
head -1 "$work/odd.jsonl" >"$work/only.jsonl"
run 0 "$atelier" eval "$model" --tasks "$work/only.jsonl" --tasks "$items" --sequence-tokens 64 --json
expect_output '"acc": null' # of a group without an item that is scored

# Files of one name are two groups; choices that are alike do no harm where none of them is the right one.
mkdir "$work/other"
printf '%s\n' '{"query": "Le", "choices": ["dossier", "chat", "chat"], "gold": 0}' >"$work/other/odd.jsonl"
printf '%s\n' '{"query": "Le", "choices": ["chat", "dossier", "chat"], "gold": 0}' >"$work/equal.jsonl"
run 0 "$atelier" eval "$model" --tasks "$work/odd.jsonl" --tasks "$work/other/odd.jsonl" --sequence-tokens 64
expect_output "^odd.jsonl  *1 "
expect_output "^$work/other/odd.jsonl  *1 "

# What a terminal would obey is shown as its code; names in other letters stay as they are.
printf '%s\n' '{"query": "Le", "choices": ["dossier", "chat"], "gold": 0, "group": "\u001b[31mrouge é"}' >"$work/red.jsonl"
run 0 "$atelier" eval "$model" --tasks "$work/red.jsonl"
! grep -q "$(printf '\033')" "$log" || fail "a control character of a group's name reaches the terminal"
expect_output "31mrouge é +1 "

# --- what is refused ---

# refuse WORDS [ARGUMENT...]
refuse() {
    words=$1
    shift
    run 2 "$atelier" eval "$model" "$@"
    expect_output "$words"
    expect "lines of '$words'" 1 "$(wc -l <"$log")"
}
refuse "data FILE.h5 or --tasks FILE.jsonl is missing"
refuse "ask for one of them" --tasks "$items" --data "$work/x.h5"
refuse "top-k is for --data" --tasks "$items" --top-k 4
refuse "sequences is for --data" --tasks "$items" --sequences 4
refuse "results is for --tasks" --data "$work/x.h5" --results "$work/new.json"
refuse "alone.jsonl' is there already" --tasks "$items" --output "$work/alone.jsonl"
refuse "items.jsonl' is there and is not a file of results" --tasks "$items" --results "$items"
refuse "sequence-tokens is 100000, but '.*' has [0-9]+ positions" --tasks "$items" --sequence-tokens 100000
refuse "none of the 1 items can be scored: 1 are longer than 64 tokens" --tasks "$work/only.jsonl" --sequence-tokens 64
cp "$items" "$work/again.jsonl"
refuse "again.jsonl' has the contents of '.*items.jsonl'" --tasks "$items" --tasks "$work/again.jsonl"
run 0 "$atelier" eval "$model" --tasks "$work/equal.jsonl" --sequence-tokens 64
expect_output "in 1 of 1 items another choice has the same text as the right one"
printf '%s\n' '{"id": "a", "query": "q", "choices": ["x", "y"], "gold": 0}' '{"id": 1, "query": "q", "choices": ["x", "y"], "gold": 0}' \
    '{"id": "a", "query": "r", "choices": ["x", "y"], "gold": 1}' >"$work/ids.jsonl"
run 0 "$atelier" eval "$model" --tasks "$work/ids.jsonl" --sequence-tokens 64
expect_output "1 of 3 items have the id of an item before them in their file: item 'a' .line 3 of '.*ids.jsonl'. has that of line 1"
sed 's/"gold"/"group": "all", "gold"/' "$work/ids.jsonl" >"$work/all.jsonl"
refuse "all.jsonl', line 1: a group is called 'all', as the line of all items is: give it another name" --tasks "$work/all.jsonl"
refuse "output and --results are the same file" --tasks "$items" --output "$work/x.json" --results "$work/../tasks/x.json"
refuse "output: cannot write into '.*no/dir'" --tasks "$items" --output "$work/no/dir/x.jsonl"
refuse "results: cannot write into '.*no/dir'" --tasks "$items" --results "$work/no/dir/x.json"
refuse "no-such.jsonl'" --tasks "$work/no-such.jsonl"
refuse "items.jsonl', line 1: 2 examples are asked for, and there are 1 other items of its group" --tasks "$items" --shots 2
refuse "shots is for --tasks" --data "$work/x.h5" --shots 2
refuse "shots-seed has no effect without --shots N" --tasks "$items" --shots-seed 3
printf '%s\n' '{"query": "q", "choices": ["a", "b"], "gold": 2}' >"$work/bad.jsonl"
refuse "bad.jsonl', line 1: 'gold' is 2, expected 0 to 1" --tasks "$work/bad.jsonl"
run 2 mpirun -n 2 "$atelier" eval "$model" --tasks "$work/bad.jsonl"
expect "errors of two ranks" 1 "$(grep -c 'error: .*gold' "$log")"
mkdir "$work/bare" && cp "$model/config.json" "$model/model.safetensors" "$work/bare"
model=$work/bare
refuse "bare' has no tokenizer" --tasks "$items"

# --- in the middle of a training ---

# ask_train NUM_RANKS FOLDER [ARGUMENT...] - the tiny run with these items; what it says of them, without times, in FOLDER.tasks.
ask_train() {
    ask_ranks=$1 ask_folder=$2
    shift 2
    train 0 "$ask_ranks" "$ask_folder" --set "eval.tasks=[$items, $work/odd.jsonl]" --set eval.every_steps=4 \
        --set optimizer.learning_rate=1e-2 "$@"
    sed -n 's/^{"event": "tasks", \("step": .*\), "seconds".*/\1/p' "$ask_folder/metrics.jsonl" >"$ask_folder.tasks"
}
prepare_sample
ask_train 0 "$work/run"
expect_output "eval.tasks: 1 of 7 items are left out: they are longer than data.sequence_tokens \(item 'long'"
! grep -q "takes letters of a choice" "$log" || fail "a query whose last token takes no letters is told"
expect "steps with an evaluation" "0 4 8 10" "$(sed 's/"step": \([0-9]*\),.*/\1/' "$work/run.tasks" | tr '\n' ' ' | sed 's/ $//')"
expect_output "^tasks +acc 0\.[0-9]+ -> 0\.[0-9]+, acc_norm .* \(6 items\)"
grep -q '"groups": {"démarches":{"items":2,' "$work/run.tasks" || fail "results by group"
# The shares at the end are those of the model that was saved; the first ones, of another model, are not.
run 0 "$atelier" eval "$work/run" --tasks "$items" --tasks "$work/odd.jsonl" --sequence-tokens 64 --json
for key in acc acc_norm acc_bytes acc_token; do
    expect "$key of the checkpoint" "$(json_number "$key" "$log")" "$(tail -n 1 "$work/run.tasks" | sed "s/.*\"all\": {[^}]*\"$key\":\([0-9.]*\).*/\1/")"
done
[ "$(sed -n '1s/"step": [0-9]*, //p' "$work/run.tasks")" != "$(sed -n '$s/"step": [0-9]*, //p' "$work/run.tasks")" ] ||
    fail "the training should change an answer"
ask_train 3 "$work/sharded" --set parallel.stage=3
cmp "$work/run.tasks" "$work/sharded.tasks" || fail "three ranks with sharded parameters answer otherwise"
# A plan counts them: as often as the run made one, without the item that is too long; twice the items take twice as long, and the
# time of the run is longer by just that.  One calibration for all, so that the rates are the same.
run 0 "$atelier" doctor --calibrate "$work/calibration.json"
planned() { # [ARGUMENT...] - JSON in $log
    run 0 env ATELIER_CALIBRATION="$work/calibration.json" "$atelier" plan "$tiny" --ranks 2 --json --set "run.folder=$work/planned" \
        --set "data.train=$work/fiches.h5" "$@"
}
planned
without=$(json_number wall_s "$log")
planned --set "eval.tasks=[$items, $work/odd.jsonl]" --set eval.every_steps=4
expect "evaluations planned" "$(wc -l <"$work/run.tasks")" "$(json_number evaluations "$log")"
once=$(json_number evaluation_s "$log") tokens=$(json_number evaluation_tokens "$log") with=$(json_number wall_s "$log")
awk -v a="$without" -v b="$with" -v s="$once" 'BEGIN { d = b - a - 4 * s; exit !(s > 0 && d < 1e-9 && -d < 1e-9) }' ||
    fail "the plan says $without s without, $with s with four evaluations of $once s"
for file in "$items" "$work/odd.jsonl"; do
    { cat "$file" && echo; } >"${file%.jsonl}-again.jsonl" # other bytes, the same items
done
planned --set "eval.tasks=[$items, $work/odd.jsonl, $work/items-again.jsonl, $work/odd-again.jsonl]"
expect "tokens of the items twice" $((2 * tokens)) "$(json_number evaluation_tokens "$log")"
expect "evaluations without an interval" 2 "$(json_number evaluations "$log")"
run 0 "$atelier" plan "$tiny" --ranks 2 --set "run.folder=$work/planned" --set "data.train=$work/fiches.h5" \
    --set "eval.tasks=[$items, $work/odd.jsonl]" --set eval.every_steps=4
expect_output "^evaluations  of eval.tasks, 4 times: 7 items of $tokens tokens, "
expect_output "^ +1 of them are left out: longer than data.sequence_tokens"
run 0 "$atelier" plan "$tiny" --ranks 2 --set "run.folder=$work/planned" --set "data.train=$work/fiches.h5" --set "eval.tasks=[$work/later.jsonl]"
expect_output "^evaluations  of eval.tasks, 2 times: not in the time: '.*later.jsonl' is not there yet"
run 0 "$atelier" plan "$tiny" --ranks 2 --set "run.folder=$work/planned" --set "data.train=$work/fiches.h5" --set "eval.tasks=[$items]" \
    --set model.tokenizer=null --set model.architecture.vocab_size=4096
expect_output "^evaluations  of eval.tasks, 2 times: not in the time: the model's tokenizer is not here"
# What an evaluation of its own tells of the items, a training does.
printf '%s\n' '{"query": "Pour demander une car", "choices": ["te d\u0027identité", "avane"], "gold": 0, "delimiter": "", "id": "joint"}' >"$work/joint.jsonl"
train 0 0 "$work/joint" --set "eval.tasks=[$work/joint.jsonl]" --set train.steps=1
expect_output "eval.tasks: of 1 of 1 items the last token of the query takes letters of a choice.*item 'joint'"
printf '%s\n' '{"query": "Le", "choices": ["dossier", "chat"], "gold": 0, "id": 7}' '{"query": "La", "choices": ["mairie", "chat"], "gold": 0, "id": 7}' >"$work/twice.jsonl"
train 0 0 "$work/twice" --set "eval.tasks=[$work/twice.jsonl]" --set train.steps=1
expect_output "eval.tasks: 1 of 2 items have the id of an item before them in their file: .*has that of line 1"
! grep -q "have the id of an item before them" "$work/run/log.txt" || fail "items with ids of their own are told"
# A start that goes on asks no first time, and a file that is no task is refused before anything is written.
ask_train 0 "$work/parts" --set train.steps=5
ask_train 0 "$work/parts"
expect "steps of a run in two parts" "0 4 5 8 10" "$(sed 's/"step": \([0-9]*\),.*/\1/' "$work/parts.tasks" | tr '\n' ' ' | sed 's/ $//')"
expect "the end of it" "$(tail -n 1 "$work/run.tasks")" "$(tail -n 1 "$work/parts.tasks")"
train 2 2 "$work/refused" --set "eval.tasks=[$work/bad.jsonl]"
expect_output "error: eval.tasks: '.*bad.jsonl', line 1: 'gold' is 2"
[ ! -e "$work/refused/log.txt" ] || fail "a refused run has a log"
run 2 "$atelier" plan "$tiny" --ranks 1 --set "run.folder=$work/refused" --set "data.train=$work/fiches.h5" --set "eval.tasks=[$work/bad.jsonl]"
expect_output "error: eval.tasks: '.*bad.jsonl', line 1: 'gold' is 2"
train 2 0 "$work/refused" --set eval.every_steps=4
expect_output "'eval.every_steps' is 4, which would have no effect: it is read only with eval.tasks"

# As a job: each file is looked for, and the words stand in the script.
run 0 "$atelier" submit eval "$tiny" "$model" --tasks "$items" --tasks "$work/no-such.jsonl" --dry-run --set "run.folder=$work/job" \
    --set slurm.site=jeanzay --set slurm.account=abc
expect_output "warning: --tasks '.*no-such.jsonl' is not there"
expect_output "eval '.*' '--tasks' '.*items.jsonl' '--tasks' '.*no-such.jsonl'$"
if grep -q -- "--tasks '.*items.jsonl' is not there" "$log"; then
    fail "a file that is there is looked for in vain"
fi

# --- published sets ---

# convert WANTED_CODE FILE SET [ARGUMENT...] - into $work/set.jsonl.
convert() {
    convert_code=$1 records=$2 set=$3
    shift 3
    run "$convert_code" "$atelier" prepare "$records" --eval "$set" --output "$work/set.jsonl" "$@"
}
model=data/sample/model
cat >"$work/boolqa.jsonl" <<'END'
{"passage": "La mairie délivre les passeports.", "question": "La mairie délivre-t-elle les passeports ?", "label": 1}
{"passage": "Le dossier est gratuit.", "question": "Faut-il payer ?", "label": 0}
END
convert 0 "$work/boolqa.jsonl" boolqa
expect_output "^  items +2$"
run 0 "$atelier" eval "$model" --tasks "$work/set.jsonl"
expect_output "^boolqa +2 .* 50.00$"
convert 2 "$work/boolqa.jsonl" boolqa
expect_output "set.jsonl' is there already"
cp "$work/set.jsonl" "$work/of_lines.jsonl"
{
    printf '%s\n' 'passage,question,label'
    printf '%s\n' 'La mairie délivre les passeports.,La mairie délivre-t-elle les passeports ?,1' 'Le dossier est gratuit.,Faut-il payer ?,0'
} | gzip >"$work/boolqa.csv.gz"
rm "$work/set.jsonl"
convert 0 "$work/boolqa.csv.gz" boolqa --json
grep -q '"items": 2' "$log" || fail "two items of a table"
cmp "$work/of_lines.jsonl" "$work/set.jsonl" || fail "the same records, as a table, are other items"
rm "$work/set.jsonl"
convert 1 "$work/boolqa.jsonl" xnli
expect_output "boolqa.jsonl', line 1: field 'premise' of facebook/xnli, fr is nothing"
if [ -e "$work/set.jsonl" ] || [ -e "$work/set.jsonl.partial" ]; then
    fail "a refused set leaves a file"
fi
convert 2 "$work/boolqa.jsonl" boolq
expect_output "'boolq' is not a set .* boolqa,"
"$atelier" prepare --help | tr -s ' \n' ' ' >"$work/help"
grep -qF "reads: $(sed 's/.*these are: //' "$log")" "$work/help" || fail "the help names other sets than there are"
convert 1 "$work/mark" boolqa
expect_output "is not a file of records by its name"
convert 2 "$work/boolqa.jsonl" boolqa --set a=b
expect_output "--set is for a run file"
run 2 "$atelier" prepare "$work/boolqa.jsonl" --eval boolqa
expect_output "--output FILE.jsonl is missing"
run 2 "$atelier" prepare "$work/boolqa.jsonl" --output "$work/set.jsonl"
expect_output "--output is for --eval"
say "questions with choices: the same on 1 to 4 ranks, what is left out is told"
