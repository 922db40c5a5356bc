#!/bin/sh
# scenario_fp8_compute.sh - train.compute: fp8 beside bf16: losses within 1 % over a run, from nothing and with an adapter, the same on
# one rank and on two, to the bit after a resume, and checkpoints that say it; and what is refused.  Controls: the losses of the
# two are not the same, nor those with the outer layers in bf16.  What scales of 1 do, tests/test_fp8_training.c shows.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
# shellcheck source=tests/family_checks.sh
. "$(dirname "$0")/family_checks.sh"
scenario fp8_compute
prepare_sample

# near A B - two runs within 1 % of each other, and not the same.
near() {
    away=$(difference "$work/$1" "$work/$2")
    is_at_most "$away" 0.01 || fail "$1 and $2 differ by $away"
    is_at_most "$away" 1e-6 && fail "$1 and $2 have the same losses ($away): nothing was in 8 bits"
    say "$1 and $2 differ by $away"
}

train 0 1 "$work/bf16" --set train.compute=bf16 --set parallel.stage=0
for format in e4m3 hybrid; do
    train 0 1 "$work/$format" --set train.compute=fp8 --set "train.fp8_format=$format" --set parallel.stage=0
    grep -q "parameters, fp8 $format" "$work/$format/log.txt" || fail "the log of $format does not say how it computes"
    grep -q "\"compute\": *\"fp8 $format\"" "$work/$format/step-000010/provenance.json" ||
        fail "the checkpoint of $format does not say how it was computed"
    near "$format" bf16
done
train 0 1 "$work/block" --set train.compute=fp8 --set train.fp8_scaling=block --set parallel.stage=0
grep -q "parameters, fp8 e4m3 by blocks" "$work/block/log.txt" || fail "the log does not say that blocks have scales"
grep -q '"compute": *"fp8 e4m3 by blocks"' "$work/block/step-000010/provenance.json" ||
    fail "the checkpoint does not say that blocks have scales"
near block bf16
near block e4m3
train 0 2 "$work/block-two" --set train.compute=fp8 --set train.fp8_scaling=block
away=$(difference "$work/block-two" "$work/block")
say "with scales of blocks, two ranks and one differ by $away"
is_at_most "$away" 2e-4 || fail "with scales of blocks, two ranks and one differ by $away"
train 0 1 "$work/inner" --set train.compute=fp8 --set train.fp8_skip_layers=1 --set parallel.stage=0 \
    --set model.architecture.layers=3
train 0 1 "$work/whole" --set train.compute=fp8 --set parallel.stage=0 --set model.architecture.layers=3
grep -q "fp8 e4m3, first and last 1 layer in bf16" "$work/inner/log.txt" || fail "nothing says which layers are in bf16"
near inner whole

# --- ranks, and a resume ---
train 0 2 "$work/two" --set train.compute=fp8
away=$(difference "$work/two" "$work/e4m3")
say "two ranks and one differ by $away"
is_at_most "$away" 2e-4 || fail "two ranks and one differ by $away"
train 0 1 "$work/layer" --set train.compute=fp8 --set train.recompute=layer --set parallel.stage=0
[ "$(losses "$work/layer")" = "$(losses "$work/e4m3")" ] || fail "what is computed again has other bits"
train 0 1 "$work/half" --set train.compute=fp8 --set parallel.stage=0 --set checkpoint.every_steps=5
rm -r "$work/half/step-000010" && echo step-000005 >"$work/half/latest"
train 0 1 "$work/half" --set train.compute=fp8 --set parallel.stage=0 --set checkpoint.every_steps=5
[ "$(losses "$work/half")" = "$(losses "$work/e4m3")" ] || fail "a resumed run has other losses"

# --- an adapter ---
whole=$tiny
adapt "$work/bf16/step-000010"
train 0 1 "$work/lora-bf16" --set train.compute=bf16 --set parallel.stage=0
train 0 1 "$work/lora-fp8" --set train.compute=fp8 --set parallel.stage=0
near lora-fp8 lora-bf16

# --- what is refused ---
# refused MESSAGE [SETTING]...
refused() {
    message=$1
    shift
    train 2 0 "$work/never" --set train.compute=fp8 "$@"
    expect_output "$message"
}
refused "'adapter.base' keeps matrices in fewer bits already" --set adapter.base=nf4
refused "'adapter.method' is dora" --set adapter.method=dora
tiny=$whole
refused "'parallel.tensor' is not 1" --set parallel.tensor=2
refused "'parallel.context' is not 1" --set parallel.context=2
refused "'train.reproducible' is layout" --set train.reproducible=layout --set run.threads=1
refused "no product would be in 8 bits" --set train.fp8_skip_layers=1
refused "has no products of experts" --set model.architecture.family=mixtral --set model.architecture.experts=4 \
    --set model.architecture.experts_per_token=2
train 2 0 "$work/never" --set train.fp8_skip_layers=1
expect_output "is read only with train.compute: fp8"
train 2 0 "$work/never" --set train.fp8_scaling=block
expect_output "is read only with train.compute: fp8"

# --- on GPUs, as far as a plan goes ---
# plan_gpu CODE [SETTING]... - of a run on a node of H100.
plan_gpu() {
    code=$1
    shift
    run "$code" "$atelier" plan "$whole" --set slurm.site=jeanzay --set slurm.partition=gpu_p6 --set slurm.account=abc@h100 \
        --set data.train="$work/fiches.h5" --set train.compute=fp8 "$@"
}
plan_gpu 0
expect_output "; fp8 e4m3"
plan_gpu 0 --set train.fp8_scaling=block
expect_output "; fp8 e4m3 by blocks"
plan_gpu 2 --set train.fp8_scaling=block --set data.sequence_tokens=30 --set train.micro_sequences=1
expect_output "tokens are a multiple of 4, and there are 1 x 30: set data.sequence_tokens to 28, or fp8_scaling to tensor"
plan_gpu 2 --set model.architecture.width=24
expect_output "takes matrices whose sizes are multiples of 16, and the model's width is 24: set it to bf16"
