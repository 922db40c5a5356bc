#!/bin/sh
# scenario_keep_best.sh - checkpoint.keep_best: the checkpoint of the lowest validation loss stays beside the newest ones, RUN/best
# names it, over restarts and on any number of ranks, and every command takes that path for a model.  Controls: without the key
# it is gone; what stands at RUN/best and is not a link of ours is neither read nor replaced.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario keep_best
prepare_sample
# From a rate this high the validation after step 2 is the best of the first three.
sed 's/^  steps: 10$/  steps: 6/' "$tiny" >"$work/long.yaml"
tiny=$work/long.yaml

# kept WANTED_CODE RANKS FOLDER [ARGUMENT...]
kept() {
    wanted_code=$1 ranks=$2 folder=$3
    shift 3
    train "$wanted_code" "$ranks" "$folder" --set optimizer.learning_rate=0.05 --set valid.every_steps=2 --set valid.sequences=0 \
        --set checkpoint.every_steps=0 --set checkpoint.keep=1 "$@"
}

checkpoints() {
    (cd "$1" && echo step-*)
}

# best_row FOLDER - step and loss of the lowest validation after the first step, as the metrics say.
best_row() {
    sed -n 's/^{"event": "validation", "step": \([1-9][0-9]*\), "loss": \([^,]*\),.*/\1 \2/p' "$1/metrics.jsonl" |
        awk '!n || $2 < best { n = 1; best = $2; step = $1 } END { print step, best }'
}

# expect_best FOLDER STEP - RUN/best is a link to it, and it is whole.
expect_best() {
    expect "best of '$1'" "$(printf 'step-%06d' "$2")" "$(readlink "$1/best")"
    run 0 "$atelier" inspect "$1/best" --verify
}

# --- control: with one to keep, and without the key, the best one is gone ---
kept 0 0 "$work/plain" --set checkpoint.every_steps=2
best=$(best_row "$work/plain") && step=${best% *} loss=${best#* }
[ "$step" -lt 6 ] || fail "the last step is the best: there is nothing to keep"
expect "checkpoints without the key" step-000006 "$(checkpoints "$work/plain")"
[ ! -e "$work/plain/best" ] || fail "a run without checkpoint.keep_best has RUN/best"

# --- with it ---
two="$(printf 'step-%06d' "$step") step-000006"
for ranks in 0 2; do
    kept 0 $ranks "$work/best-$ranks" --set checkpoint.keep_best=true
    expect "checkpoints kept" "$two" "$(checkpoints "$work/best-$ranks")"
    expect_output "^best one +.*/best \(step-$(printf %06d "$step")\), validation loss $(printf %.4f "$loss"); to export it: atelier export .*/best --to gguf --output FILE"
    expect_complete "$work/best-$ranks" 6
    expect_best "$work/best-$ranks" "$step"
done
losses "$work/plain" >"$work/plain.losses"
expect "losses" "$(cat "$work/plain.losses")" "$(losses "$work/best-0")"
expect "the best one in training.json" "$step" "$(sed -n '/"best": {/,/}/s/.*"step": \([0-9]*\).*/\1/p' "$work/best-0/step-000006/state/training.json")"
say "the best of three validations, after step $step, is kept beside the newest checkpoint, on one rank and on two"

# --- it is a model: its validation is the one that made it the best ---
run 0 "$atelier" eval "$work/best-0/best" --data "$work/fiches-valid.h5" --json --sequence-tokens 64
is_at_most "$(awk -v a="$(json_number loss "$log")" -v b="$loss" 'BEGIN { d = a / b - 1; print d < 0 ? -d : d }')" 1e-5 ||
    fail "eval of RUN/best should give its validation loss, $loss"
run 0 "$atelier" generate "$work/best-0/best" --prompt "Pour" --max-tokens 2
run 0 "$atelier" export "$work/best-0/best" --to hf --out "$work/exported"
cmp -s "$work/exported/model.safetensors" "$work/best-0/$(printf 'step-%06d' "$step")/model.safetensors" ||
    fail "the export of RUN/best should be its weights"
run 0 "$atelier" status "$work/best-0"
expect_output "^best one +step-$(printf %06d "$step"), by its validation loss: "
run 0 "$atelier" report "$work/best-0"
grep -q "the best one is of step $step" "$work/best-0/report.html" || fail "the report should name the best checkpoint"
grep -q "Validation loss of the best checkpoint so far" "$work/best-0/step-000006/README.md" || fail "the card should tell of the best checkpoint"
kept 0 0 "$work/best-0" --set checkpoint.keep_best=true
expect_output "the checkpoint of the lowest validation loss is '.*best', of step $step"
train 0 0 "$work/from" --set "checkpoint.from=$work/best-0/best" --set "train.steps=$((step + 1))"
expect_output "resumed from '.*best-0/best' after step $step"
adapt "$work/best-0/best"
train 0 0 "$work/adapter" --set train.steps=2 --set valid.every_steps=1 --set checkpoint.keep_best=true
run 0 "$atelier" eval "$work/adapter/best" --data "$work/fiches-valid.h5" --sequences 1
tiny=$work/long.yaml
say "eval (also of an adapter), generate, export, inspect, status and report take it, and a run begins with it"

# --- over restarts: after the best, and on another number of ranks ---
kept 0 0 "$work/split" --set checkpoint.keep_best=true --set train.steps=$((step + 3))
kept 0 2 "$work/split" --set checkpoint.keep_best=true
expect "checkpoints after a restart" "$two" "$(checkpoints "$work/split")"
expect_best "$work/split" "$step"

# A link that names nothing, or the newest one, as after a kill between the two, or a validation that came after its save: the
# next start moves it back, and validates first where it has to.
for steps in 7 8; do
    case $steps in
    7) ln -sfn step-000001 "$work/split/best" ;;
    8) ln -sfn step-000007 "$work/split/best" ;;
    esac
    kept 0 0 "$work/split" --set checkpoint.keep_best=true --set train.steps=$steps --set optimizer.learning_rate=1e-9
    expect_best "$work/split" "$step"
done
expect "validations after step 7" 2 "$(grep -c '"event": "validation", "step": 7,' "$work/split/metrics.jsonl")"
say "remembered over restarts"

# --- with train.early_stop the result is the best one ---
kept 0 0 "$work/early" --set checkpoint.keep_best=true --set train.early_stop=2 --set train.steps=20
expect_output "^outcome +done: no better for 2 validations .*after step $step, and the result is the best checkpoint"
expect_best "$work/early" "$step"

# --- a validation that is not a number does not count ---
train 1 0 "$work/none" --set optimizer.learning_rate=100 --set train.compute=f16 --set valid.every_steps=1 \
    --set checkpoint.keep_best=true
expect_output "^step 1: the validation loss is not a number: it does not count for checkpoint.keep_best"
[ ! -e "$work/none/best" ] || fail "a validation without a number made a best checkpoint"

# --- what is not a link of ours ---
for thing in folder text elsewhere; do
    rm -rf "$work/other" && mkdir -p "$work/other"
    case $thing in
    folder) mkdir "$work/other/best" ;;
    text) echo step-000002 >"$work/other/best" ;;
    elsewhere) ln -s ../best-0/best "$work/other/best" ;;
    esac
    train '[12]' 0 "$work/other" --set checkpoint.keep_best=true --set valid.every_steps=2
    expect_output "/best' is not a link to a checkpoint beside it: move it away"
done

# --- the plan has room for it: one checkpoint more ---
# planned_bytes KEEP_BEST - of the disk, with two checkpoints to keep.
planned_bytes() {
    run 0 "$atelier" plan "$tiny" --set "run.folder=$work/plan" --set "data.train=$work/fiches.h5" --set "data.valid=$work/fiches-valid.h5" \
        --set valid.every_steps=1 --set checkpoint.every_steps=1 --set checkpoint.keep=2 --set "checkpoint.keep_best=$1" --json
    json_number disk_bytes "$log"
}
size=$(sed -n 's/.*"event": "checkpoint", .*"size_bytes": \([0-9]*\).*/\1/p' "$work/plain/metrics.jsonl" | head -n 1)
expect "bytes that the plan adds" "$size" "$(awk -v with="$(planned_bytes true)" -v without="$(planned_bytes false)" 'BEGIN { print with - without }')"

# --- refused ---
train 2 0 "$work/never" --set checkpoint.keep_best=true
expect_output "'checkpoint.keep_best' compares validations, and there are none between the steps: set valid.every_steps"
say "with train.early_stop it is the result; refused where there is nothing to compare, or something else stands there"
