#!/bin/sh
# scenario_wire.sh - parallel.wire: int8, gradients that cross between replicas in 8 bits.  The same run twice, and one that was stopped
# and resumed, give the same bytes, with saves beside the training and without; a checkpoint has what is still owed, once
# whatever the number of replicas, and goes on in other grids near the curve.  What it does not go with is refused by name; plan counts
# bytes and memory.  Control: gradients in f32 give other bytes.  auto is one of compute and f32, and says which.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario wire
prepare_sample

# coded WANTED_CODE RANKS FOLDER [ARGUMENT...] - 8 steps in two replicas.
coded() {
    wanted_code=$1 ranks=$2 folder=$work/$3
    shift 3
    train "$wanted_code" "$ranks" "$folder" --set parallel.replicas=2 --set parallel.wire=int8 --set train.steps=8 \
        --set checkpoint.every_steps=4 "$@"
}

# bytes FOLDER - after 8 steps.
bytes() {
    trained_sums "$1" 000008
}

# resume_from_four FOLDER OF - a run that ended after 4 steps.
resume_from_four() {
    copy_as_it_was "$1" "$2" 000004 000008
}

for stage in 1 3; do
    coded 0 4 "stage$stage" --set "parallel.stage=$stage"
    [ "$(bytes "stage$stage" | wc -l)" -eq 5 ] || fail "expected 5 files, got: $(bytes "stage$stage")"
    resume_from_four again "stage$stage"
    coded 0 4 again --set "parallel.stage=$stage" --set checkpoint.async=true
    expect "bytes of a restart at stage $stage" "$(bytes "stage$stage")" "$(bytes again)"
done
debts=step-000004/state/wire_feedback.safetensors
cmp -s "$work/stage1/$debts" "$work/stage1/step-000004/state/adam_m.safetensors" && fail "what is owed are the moments"
coded 0 2 two --set checkpoint.async=false
coded 0 2 twice --set checkpoint.async=true
expect "bytes of the same run, saved in another way" "$(bytes two)" "$(bytes twice)"
say "restarts at stages 1 and 3, saves beside the training: the same bytes"

# Control: gradients in f32.
coded 0 2 whole --set parallel.wire=f32
[ "$(sha256sum <"$work/whole/step-000008/model.safetensors")" != "$(sha256sum <"$work/two/step-000008/model.safetensors")" ] ||
    fail "gradients in f32 gave the same model"
[ ! -e "$work/whole/$debts" ] || fail "a run with gradients in f32 owes something"

# Walks: 4 steps in one grid, the rest in another; and on without codes, which is said.
losses "$work/whole" >"$work/want"
for walk in "4 2 1" "4 4 3" "2 2 3" "3 3 2"; do
    # shellcheck disable=SC2086
    set -- $walk
    resume_from_four again stage3
    coded 0 "$1" again --set "parallel.replicas=$2" --set "parallel.stage=$3"
    losses "$work/again" >"$work/got"
    is_within "$work/got" "$work/want" 5e-3 || fail "$1 ranks, $2 replicas, stage $3: off by $(worst_difference "$work/got" "$work/want")"
done
resume_from_four again stage3
coded 0 2 again --set parallel.wire=compute
expect_output "has what gradients in 8 bits still owe .parallel.wire: int8., which is left out"
coded 0 2 alone --set parallel.replicas=0
expect_output "parallel.wire is int8, and there is one replica"

# refused PATTERN [ARGUMENT...]
refused() {
    pattern=$1
    shift
    coded 2 2 refused "$@"
    expect_output "$pattern"
}
refused "'parallel.wire' is int8, and 'parallel.replicas' is auto" --set parallel.replicas=auto
refused "'parallel.wire' is int8, and 'parallel.replicas' is 1" --set parallel.replicas=1
refused "'parallel.wire' is int8, and 'parallel.stage' is 0" --set parallel.stage=0
refused "'parallel.wire' is int8, and 'parallel.stage' is auto" --set parallel.stage=auto
refused "'parallel.wire' is int8, and 'parallel.tensor' is not 1" --set parallel.tensor=2
refused "'parallel.wire' is int8, and 'train.compute' is f16" --set train.compute=f16
refused "'parallel.wire' is int8, and 'train.spike' is not off" --set train.spike=skip
refused "'parallel.sync_every' is 3, and 'parallel.wire' is f32 or int8" --set parallel.sync_every=3
refused "'parallel.wire' is int8, which would have no effect" --set train.reproducible=layout
refused "'parallel.wire' is auto, which would have no effect" --set parallel.wire=auto --set train.reproducible=layout
refused "'parallel.sync_every' is 3, and 'parallel.wire' is auto" --set parallel.wire=auto --set parallel.sync_every=3
say "what it does not go with: refused by name"

# plan: gradients of 1 byte and 4 for 128 in place of 4, values as before; debts of 4 bytes for each value of a shard.
plan() { # FILE [ARGUMENT...]
    to=$1
    shift
    run 0 "$atelier" plan "$tiny" --ranks 2 --set "data.train=$work/fiches.h5" --set parallel.replicas=2 --set parallel.stage=1 --json "$@"
    cp "$log" "$to"
}
plan "$work/coded.json" --set parallel.wire=int8
# All replicas on one node, or one alone: said.  The controls: another wire, and replicas on nodes of their own.
hints_of() {
    grep -o 'parallel.wire int8: [a-z]* [a-z0-9]* [a-z]*' "$1" || true
}
expect "the hint of two replicas on this node" "parallel.wire int8: the 2 replicas" "$(hints_of "$work/coded.json")"
plan "$work/one.json" --set parallel.wire=int8 --set parallel.replicas=0
expect "the hint of one replica" "parallel.wire int8: there is one" "$(hints_of "$work/one.json")"
plan "$work/f32.json" --set parallel.wire=f32
expect "hints of f32" "" "$(hints_of "$work/f32.json")"
run 0 "$atelier" plan configs/jeanzay_h100_1b_continue.yaml --set model.path=data/sample/model --set data.sequence_tokens=256 \
    --set slurm.nodes=2 --set parallel.stage=1 --set parallel.replicas=0 --set parallel.wire=int8 --json
cp "$log" "$work/nodes.json"
expect "hints of a replica on each node" "" "$(hints_of "$work/nodes.json")"
awk -v c="$(json_number across "$work/coded.json")" -v f="$(json_number across "$work/f32.json")" \
    'BEGIN { share = (1 + 4 / 128 + 4) / (4 + 4); exit !(c > 0.995 * share * f && c < 1.02 * share * f) }' ||
    fail "a rank sends $(json_number across "$work/coded.json") bytes in 8 bits, $(json_number across "$work/f32.json") in f32"
awk -v c="$(json_number gradients "$work/coded.json")" -v f="$(json_number gradients "$work/f32.json")" \
    'BEGIN { exit !(c > 1.99 * f && c < 2.02 * f) }' || fail "gradients and debts take $(json_number gradients "$work/coded.json") bytes"
awk -v c="$(json_number disk_bytes "$work/coded.json")" -v f="$(json_number disk_bytes "$work/f32.json")" \
    'BEGIN { exit !(c > 1.15 * f && c < 1.3 * f) }' || fail "checkpoints are planned to take $(json_number disk_bytes "$work/coded.json") bytes"

# auto: what is said to be chosen is what runs.  The control: the other type gives other bytes.
coded 0 2 auto --set parallel.wire=auto --set train.compute=bf16
chosen=$(sed -n 's/^chosen: .*wire \([a-z0-9]*\), .*/\1/p' "$log")
case $chosen in compute) other=f32 ;; f32) other=compute ;; *) fail "of parallel.wire: auto is told: '$(grep '^chosen' "$log")'" ;; esac
coded 0 2 chosen --set "parallel.wire=$chosen" --set train.compute=bf16
coded 0 2 other --set "parallel.wire=$other" --set train.compute=bf16
expect "bytes of parallel.wire: auto, which is $chosen" "$(bytes chosen)" "$(bytes auto)"
[ "$(bytes other)" != "$(bytes auto)" ] || fail "both wires give the same bytes: nothing is compared"
say "all as expected"
