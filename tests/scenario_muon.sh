#!/bin/sh
# scenario_muon.sh - a run with optimizer.kind muon: saved and loaded to the bit, loaded on another number of ranks to
# 1e-5; its states are files of their own, its card names it, the plan counts its memory; another optimizer is refused
# on a resume, and a checkpoint that lacks a state is refused by its name.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario muon
prepare_sample

# muon WANTED_CODE NUM_RANKS FOLDER [ARGUMENT...] - a tiny run with it.
muon() {
    wanted_muon=$1 ranks_muon=$2 folder_muon=$3
    shift 3
    train "$wanted_muon" "$ranks_muon" "$folder_muon" --set optimizer.kind=muon "$@"
}

# bits_equal A B - the last checkpoints hold the same weights and optimizer state.
bits_equal() {
    for file in model state/master state/momentum state/adam_m state/adam_v; do
        cmp -s "$1/step-000010/$file.safetensors" "$2/step-000010/$file.safetensors" || return 1
    done
}

for ranks in 0 2; do
    muon 0 "$ranks" "$work/straight-$ranks"
    muon 0 "$ranks" "$work/split-$ranks" --set train.steps=5
    cp -r "$work/split-$ranks" "$work/saved-$ranks"
    muon 0 "$ranks" "$work/split-$ranks"
    bits_equal "$work/straight-$ranks" "$work/split-$ranks" ||
        fail "weights or optimizer state of step 10 differ after a resume on $ranks ranks"
done
losses "$work/straight-0" >"$work/straight.losses"
say "10 steps = 5 + save + load + 5 to the bit, alone and on 2 ranks"

cp -r "$work/saved-2" "$work/on-3"
muon 0 3 "$work/on-3"
losses "$work/on-3" >"$work/got"
is_within "$work/got" "$work/straight.losses" 1e-5 || fail "saved on 2 ranks, loaded on 3: losses differ by $worst"
say "saved on 2 ranks, loaded on 3: largest relative difference of the losses $worst"

train 0 0 "$work/adamw"
losses "$work/adamw" >"$work/adamw.losses"
if is_within "$work/adamw.losses" "$work/straight.losses" 1e-3; then
    fail "AdamW gives the losses of Muon: optimizer.kind does nothing"
fi
grep -q Muon "$work/straight-0/step-000010/provenance.json" || fail "provenance.json does not name Muon"

# --- a resume with another optimizer, or without a state ---
train 2 0 "$work/saved-0"
expect_output "was trained with optimizer.kind muon, the run file now says adamw"
rm "$work/saved-2/step-000005/state/momentum.safetensors"
muon 2 2 "$work/saved-2"
expect_output "cannot open '.*step-000005/state/momentum.safetensors'"
say "another optimizer, or a state that is missing, is refused on a resume"

# --- the plan: where AdamW keeps two states of a matrix, Muon keeps one ---
for kind in adamw muon; do
    run 0 "$atelier" plan "$tiny" --set "data.train=$work/fiches.h5" --set "optimizer.kind=$kind" --json
    sed -n 's/^ *"disk_bytes": \([0-9]*\).*/\1/p' "$log" >"$work/disk-$kind"
done
[ "$(cat "$work/disk-muon")" -lt "$(cat "$work/disk-adamw")" ] || fail "the plan does not know the states of Muon"
say "the plan: $(cat "$work/disk-adamw") bytes on disk with adamw, $(cat "$work/disk-muon") with muon"
