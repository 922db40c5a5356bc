#!/bin/sh
# scenario_resume.sh - a run that was saved and loaded goes on as if nothing had happened: to the bit on the same
# layout, to 1e-5 on another number of ranks or another stage.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario resume
prepare_sample

# bits_equal A B - the last checkpoints hold the same weights and optimizer state.
bits_equal() {
    for file in model state/master state/adam_m state/adam_v; do
        cmp -s "$1/step-000010/$file.safetensors" "$2/step-000010/$file.safetensors" || return 1
    done
}

# resumed_losses FOLDER - of the steps after the load.
resumed_losses() {
    losses "$1" | tail -n 5
}

# close_to_straight FOLDER - losses 6 to 10 equal those of the straight run on one rank.
close_to_straight() {
    resumed_losses "$1" >"$work/got"
    is_within "$work/got" "$work/straight.losses" 1e-5
}

# --- to the bit: 10 steps = 5 + save + load + 5 ---
for ranks in 0 2; do
    train 0 "$ranks" "$work/straight-$ranks" --set checkpoint.every_steps=5
    train 0 "$ranks" "$work/split-$ranks" --set train.steps=5
    cp -r "$work/split-$ranks" "$work/saved-$ranks"
    train 0 "$ranks" "$work/split-$ranks"
    expect_output "resumed from '.*step-000005' after step 5"
    expect "losses of steps 1 to 10 on $ranks ranks" "$(losses "$work/straight-$ranks")" "$(losses "$work/split-$ranks")"
    bits_equal "$work/straight-$ranks" "$work/split-$ranks" ||
        fail "weights or optimizer state of step 10 differ after a resume on $ranks ranks"
done
resumed_losses "$work/straight-0" >"$work/straight.losses"
say "10 steps = 5 + save + load + 5 to the bit, alone and on 2 ranks"

# --- saved on 2 ranks, loaded on others ---
for ranks in 1 3 4; do
    cp -r "$work/saved-2" "$work/on-$ranks"
    train 0 "$ranks" "$work/on-$ranks"
    close_to_straight "$work/on-$ranks" || fail "saved on 2 ranks, loaded on $ranks: losses differ by $worst"
    say "saved on 2 ranks, loaded on $ranks: largest relative difference of the losses $worst"
done

# --- saved at one stage, loaded at another ---
for pair in 3:0 0:3 1:2 2:1; do
    saved=${pair%:*} loaded=${pair#*:}
    folder=$work/stage-$saved-$loaded
    train 0 2 "$folder" --set train.steps=5 --set "parallel.stage=$saved"
    train 0 2 "$folder" --set "parallel.stage=$loaded"
    close_to_straight "$folder" || fail "saved at stage $saved, loaded at $loaded: losses differ by $worst"
    say "saved at stage $saved, loaded at $loaded: largest relative difference of the losses $worst"
done

# --- replicas, which split masters and states once more: saved in one layout RANKS:REPLICAS:STAGE, loaded in another ---
for pair in 4:2:3-4:4:1 4:4:3-2:1:2 2:1:3-4:2:1 3:3:2-1:1:0 1:1:0-4:2:2 4:2:0-4:2:3; do
    saved=${pair%-*} loaded=${pair#*-}
    folder=$work/replicas-$saved-$loaded steps=5
    for layout in "$saved" "$loaded"; do
        ranks=${layout%%:*} rest=${layout#*:}
        train 0 "$ranks" "$folder" --set train.steps=$steps --set "parallel.replicas=${rest%:*}" --set "parallel.stage=${rest#*:}"
        steps=10
    done
    close_to_straight "$folder" || fail "saved as ranks:replicas:stage $saved, loaded as $loaded: losses differ by $worst"
    say "saved as ranks:replicas:stage $saved, loaded as $loaded: largest relative difference of the losses $worst"
done

# --- controls: another seed is another run, and a slightly wrong loss is seen ---
train 0 0 "$work/other-seed" --set run.seed=8
if close_to_straight "$work/other-seed"; then
    fail "another seed gives the same losses: the comparison sees nothing"
fi
if bits_equal "$work/straight-0" "$work/other-seed"; then
    fail "another seed gives the same weights: the comparison sees nothing"
fi
awk 'NR == 3 { $2 = sprintf("%.17g", $2 * 1.00002) } { print }' "$work/straight.losses" >"$work/wrong.losses"
if is_within "$work/wrong.losses" "$work/straight.losses" 1e-5; then
    fail "a loss that is wrong by 2e-5 was not noticed"
fi
cp -r "$work/saved-0" "$work/refused"
train 2 0 "$work/refused" --set run.seed=8
expect_output "was trained with run.seed 7, the run file now says 8"
expect "losses after the refusal" "$(losses "$work/saved-0")" "$(losses "$work/refused")"
say "another seed: other losses; refused on a resume"
