#!/bin/sh
# scenario_v100.sh - a training on V100 (the host stand-ins of CUDA, cuBLASLt and NCCL, as a GPU of sm_70): bf16 is refused by
# name, and f16 with its scale of the loss follows the processor's f32, through attention on tensor cores (head width 64),
# on two ranks as on one; a gradient that overflows halves the scale and costs an update.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario v100
prepare_sample
on_gpu=${SIMT_OUT:-build/simt}/atelier
[ -x "$on_gpu" ] || skip "no '$on_gpu': the CUDA path is not built for this host (make simt)"
export SIMT_ARCH=70

# go WANTED_CODE NUM_RANKS NAME [ARGUMENT...] - a few short steps in $work/NAME, of heads of width 64.
go() {
    wanted_code=$1 ranks=$2 name=$3
    shift 3
    train "$wanted_code" "$ranks" "$work/$name" --set model.architecture.width=128 --set model.architecture.heads=2 \
        --set model.architecture.kv_heads=1 --set train.steps=4 --set train.batch_sequences=4 --set train.micro_sequences=1 \
        --set data.valid=null --set checkpoint.every_steps=2 --set run.gemm_choices=none "$@"
}

# follows WHAT NAME - the losses of a run are those of the processor's f32, up to the rounding of f16.
follows() {
    losses "$work/cpu" >"$work/want"
    losses "$work/$2" >"$work/got"
    furthest=$(paste "$work/want" "$work/got" | awk '{ d = $2 / $4 - 1; if (d < 0) d = -d; if (d > most) most = d }
        END { print NR == 4 ? most + 0 : 9 }')
    is_at_most "$furthest" "$3" || fail "$1: losses are off by $furthest, more than $3"
    say "$1: losses within $furthest of the processor's f32"
}

go 0 0 cpu --set run.device=cpu
atelier=$on_gpu
go '[!0]*' 0 bf16 --set run.device=cuda --set train.compute=bf16
expect_output "'train.compute' is bf16, which GPU 'pretend NVIDIA V100' \(compute capability 7.0\) does not compute in: set it to f16"
go 0 0 f16 --set run.device=cuda --set train.compute=f16
follows "f16, one rank" f16 1e-3
go 0 2 ranks --set run.device=cuda --set train.compute=f16
follows "f16, two ranks" ranks 1e-3
go 0 0 other --set run.device=cuda --set train.compute=f16 --set optimizer.learning_rate=2e-3
losses "$work/other" >"$work/got"
if paste "$work/want" "$work/got" | awk '{ d = $2 / $4 - 1; if (d > 1e-3 || d < -1e-3) far = 1 } END { exit far }'; then
    fail "another learning rate gives the same losses: the comparison sees nothing"
fi

# --- the scale: matrices drawn wide give gradients that overflow, until the scale is small enough ---
go 0 0 wide --set run.device=cuda --set train.compute=f16 --set model.architecture.initializer_range=0.5 --set train.steps=8 \
    --set train.batch_sequences=2 --set data.sequence_tokens=32 --set checkpoint.every_steps=8
expect_output 'step 1: a gradient overflowed f16; no update, the loss scale is now 32768'
grep -q '^{"step": 1,.*"update": 0, "skipped": "f16 overflow"' "$work/wide/metrics.jsonl" || fail "step 1 should say that it was skipped"
grep -q '^{"step": 8,.*"update": [1-8], "seconds"' "$work/wide/metrics.jsonl" || fail "step 8 should be an update"
say "f16: $(grep -c '"skipped": "f16 overflow"' "$work/wide/metrics.jsonl") of 8 steps overflowed"
