#!/bin/sh
# scenario_early_stop.sh - a run whose validation becomes no better for train.early_stop validations is done: saved, code 0, and done
# when it is started again; a restart in between counts on.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario early_stop
prepare_sample
# From a rate this high the validation loss becomes worse within a few steps.
sed 's/^  steps: 10$/  steps: 60/' "$tiny" >"$work/long.yaml"
tiny=$work/long.yaml

# early WANTED_CODE RANKS FOLDER [ARGUMENT...]
early() {
    wanted_code=$1 ranks=$2 folder=$3
    shift 3
    train "$wanted_code" "$ranks" "$folder" --set optimizer.learning_rate=0.03 --set valid.every_steps=2 --set valid.sequences=0 "$@"
}

# worst_row FOLDER N - the step after which N validations in a row were no better than the best one, as the log says: by its losses.
worst_row() {
    sed -n 's/^{"event": "validation", "step": \([0-9]*\), "loss": \([^,]*\),.*/\1 \2/p' "$1/metrics.jsonl" |
        awk -v n="$2" '!(count && $2 >= best) { best = $2; worse = -1 }
                       { count++; worse++; if (worse >= n) { print $1; exit } }'
}

# --- without it all steps are done: where it would have ended ---
early 0 0 "$work/all"
expect_complete "$work/all" 60
end=$(worst_row "$work/all" 3)
[ "${end:-60}" -lt 60 ] || fail "no three validations of the run were worse: there is nothing to end early"

# --- with it the run is the same up to there, and done ---
for ranks in 0 2; do
    early 0 $ranks "$work/early-$ranks" --set train.early_stop=3
    expect_output "^outcome +done: no better for 3 validations \(train.early_stop\); the best loss, [0-9.]+, was after step [0-9]+"
    expect_complete "$work/early-$ranks" "$end"
done
losses "$work/all" | head -n "$end" >"$work/until"
expect "losses" "$(cat "$work/until")" "$(losses "$work/early-0")"
early 0 0 "$work/early-0" --set train.early_stop=3
expect_output "is done already: after step $end no validation was better for so many as train.early_stop says"
say "three validations that are no better: done after step $end, on one rank and on two"

# --- a restart in between counts on ---
early 0 0 "$work/split" --set train.early_stop=3 --set train.steps=$((end - 2))
early 0 0 "$work/split" --set train.early_stop=3
expect_complete "$work/split" "$end"

# --- more patience goes on ---
early 0 0 "$work/split" --set train.early_stop=1000
expect_complete "$work/split" 60

# --- refused ---
train 2 0 "$work/none" --set train.early_stop=3
expect_output "'train.early_stop' counts validations, and there are none between the steps: set valid.every_steps"
say "counted over a restart; with more patience it goes on"
