#!/bin/sh
# scenario_reproducible.sh - train.reproducible: layout: 1, 2, 3, 4 and 8 ranks, every stage, replicas, both ways to reduce, ways to
# recompute and restarts from N ranks on M give the same bytes of weights, masters and moments, losses and norms to the last
# digit, in f32, bf16 and f16.  Controls: without it other ranks give other bytes, and another seed does with it.  What it
# cannot promise the same bits with is refused by name, and so is another number of threads or sequences in a restart.  Ranks on
# what stands in for GPUs, where it is built.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario reproducible
prepare_sample

# layout WANTED_CODE RANKS FOLDER [ARGUMENT...] - 6 steps of 7 sequences: no number of ranks but 1 and 7 divides them.
layout() {
    wanted_code=$1 ranks=$2 folder=$work/$3
    shift 3
    train "$wanted_code" "$ranks" "$folder" --set train.reproducible=layout --set train.steps=6 --set checkpoint.every_steps=3 \
        --set train.batch_sequences=7 --set train.micro_sequences=1 --set valid.every_steps=3 "$@"
}

# bytes FOLDER - hashes of what is trained, of the checkpoints after 3 and 6 steps.
bytes() {
    (cd "$work/$1" && sha256sum step-00000[36]/model.safetensors step-00000[36]/state/*.safetensors)
}

# gpu_bytes FOLDER - the same of the only checkpoint.
gpu_bytes() {
    (cd "$work/$1" && sha256sum step-000002/model.safetensors step-000002/state/*.safetensors)
}

# numbers FOLDER - losses and norms of the steps, and losses of the validations.
numbers() {
    sed -n 's/^{"step": \([0-9]*\), "loss": \([^,]*\), .*"grad_norm": \([^,]*\),.*/\1 \2 \3/p
        s/^{"event": "validation", "step": \([0-9]*\), "loss": \([^,]*\),.*/valid \1 \2/p' "$work/$1/metrics.jsonl"
}

# expect_same FOLDER OF
expect_same() {
    expect "bytes of '$1'" "$(bytes "$2")" "$(bytes "$1")"
    expect "losses and norms of '$1'" "$(numbers "$2")" "$(numbers "$1")"
}

layout 0 1 one --set parallel.stage=0
[ "$(bytes one | wc -l)" -eq 8 ] || fail "expected 8 files, got: $(bytes one)"
[ "$(numbers one | wc -l)" -ge 8 ] || fail "expected 6 steps and validations, got: $(numbers one)"
for ranks in 2 3 4 7; do
    layout 0 $ranks ranks --set parallel.stage=3
    expect_same ranks one
    rm -rf "$work/ranks"
done
for stage in $(sampled "0 1 2" "0 1 2 3"); do # 3 ranks at stage 3 are above
    layout 0 3 stage --set "parallel.stage=$stage"
    expect_same stage one
    rm -rf "$work/stage"
done
for stage in $(sampled "0 3" "0 1 2 3"); do # stages 1 and 2 are below, with more replicas and in other types
    layout 0 4 replicas --set "parallel.stage=$stage" --set parallel.replicas=2
    expect_same replicas one
    rm -rf "$work/replicas"
done
for reduce in micro step; do
    layout 0 2 reduce --set parallel.stage=2 --set "parallel.reduce=$reduce" --set train.recompute=layer
    expect_same reduce one
    rm -rf "$work/reduce"
done
layout 0 6 many --set parallel.stage=1 --set parallel.replicas=3
expect_same many one
say "1, 2, 3, 4, 6 and 7 ranks, stages, replicas, ways to reduce and to recompute: the same bytes and numbers"

# Another batch, which eight ranks have something of.
layout 0 1 one8 --set train.batch_sequences=16 --set train.micro_sequences=2
layout 0 8 eight --set train.batch_sequences=16 --set train.micro_sequences=2 --set parallel.stage=3
expect_same eight one8

for compute in bf16 f16; do
    layout 0 1 "$compute" --set "train.compute=$compute" --set optimizer.state_dtype=bf16
    layout 0 4 "$compute-4" --set "train.compute=$compute" --set optimizer.state_dtype=bf16 --set parallel.stage=2 --set parallel.replicas=2
    expect_same "$compute-4" "$compute"
done

# Restarts: each start goes on from the checkpoint after 3 steps on other ranks.
for ranks in 1 3 4; do
    rm -rf "$work/again"
    cp -r "$work/one" "$work/again"
    rm -rf "$work/again/step-000006"
    echo step-000003 >"$work/again/latest"
    layout 0 $ranks again --set parallel.stage=2
    expect "bytes of a restart on $ranks ranks" "$(bytes one)" "$(bytes again)"
done
say "eight ranks, 16 bits, restarts on 1, 3 and 4 ranks: the same bytes"

# Controls.
layout 0 1 off --set train.reproducible=off
layout 0 3 off-3 --set train.reproducible=off --set parallel.stage=3
[ "$(bytes off)" != "$(bytes off-3)" ] || fail "without train.reproducible 3 ranks gave the bytes of 1: nothing is proven"
layout 0 2 seed --set run.seed=8
[ "$(bytes one)" != "$(bytes seed)" ] || fail "another seed gave the same bytes"

# refused PATTERN ARGUMENT...
refused() {
    pattern=$1
    shift
    layout 2 0 refused "$@"
    expect_output "$pattern"
}
refused "'run.threads' is not set" --set run.threads=0
refused "'train.micro_sequences' is auto" --set train.micro_sequences=auto
refused "'run.gemm_choices' is a file" --set run.gemm_choices=choices
refused "'parallel.context' is not 1" --set parallel.context=2
refused "'parallel.tensor' is not 1" --set parallel.tensor=2
refused "'train.micro_sequences' is group, as where nothing is said" --set train.micro_sequences=null
refused "'parallel.wire' is f32, which would have no effect" --set parallel.wire=f32
refused "'optimizer.kind' is muon" --set optimizer.kind=muon
refused "'objective.kind' is not sft" --set objective.kind=orpo

# restart_refused PATTERN ARGUMENT...
restart_refused() {
    pattern=$1
    shift
    rm -rf "$work/again/step-000006"
    echo step-000003 >"$work/again/latest"
    layout 2 2 again "$@"
    expect_output "$pattern"
}
restart_refused "run.threads 1, which is 2 now" --set run.threads=2
restart_refused "train.micro_sequences 1, which is 2 now" --set train.micro_sequences=2
sed -i 's/"model.norm.weight": -[0-9]*/"model.norm.weight": 4000/' "$work/again/step-000003/state/training.json"
restart_refused "training.json"

say "refused by name: what would change bits"

# On GPUs, or what stands in for them: the same bytes on one and two ranks, sharded and not; without it others.
simt=${SIMT_OUT:-build/simt}/atelier
if [ -x "$simt" ]; then
    atelier=$simt
    gpu="--set run.device=cuda --set train.compute=bf16 --set train.steps=2 --set checkpoint.every_steps=0 --set valid.every_steps=0 --set train.batch_sequences=3"
    # shellcheck disable=SC2086 # words
    for run in "0 gpu" "2 gpu-2 --set parallel.stage=3" "2 gpu-r --set parallel.stage=1 --set parallel.replicas=2"; do
        layout 0 $run $gpu
    done
    for other in gpu-2 gpu-r; do
        expect "bytes of '$other'" "$(gpu_bytes gpu)" "$(gpu_bytes $other)"
        expect "losses and norms of '$other'" "$(numbers gpu)" "$(numbers $other)"
    done
    # shellcheck disable=SC2086 # words
    layout 0 2 gpu-off --set train.reproducible=off --set parallel.stage=3 $gpu
    [ "$(gpu_bytes gpu)" != "$(gpu_bytes gpu-off)" ] || fail "without train.reproducible two GPUs gave the bytes of one: nothing is proven"
    say "on the stand-in of GPUs: one and two ranks, sharded and replicas, the same bytes"
fi
