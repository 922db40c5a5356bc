#!/usr/bin/env bash
# run.sh [--sample] [--only WORD] [--record | --against FILE] - the refactoring check: the same bits before and after.
#
# Trains tiny models of every family variant for 20 steps on 1, 2 and 4 ranks, at every stage, in replicas, with every
# kind of recomputation, in f32, bf16 and f16, on the CPU and on the CUDA path (where build/simt is built), exports what
# came out, and prints a line for each run:
#   NAME  losses  weights  state  [hf  f32.gguf  q8_0.gguf]      SHA-256, the first 16 digits of each
# A refactoring changes no line.  Where a change of numbers is meant, record again and say so in the commit.
#   without options       compare with SUMS beside this script, the whole matrix (some minutes)
#   --sample              a few runs of each kind, for 'make test'
#   --only WORD           the rows whose name has this word; with --record those that SUMS does not have yet are added to it
#   --record              write SUMS
#   --against FILE        compare with another file, made by --record with the build of an older commit
# The program is linked with plain loops in place of oneDNN's products (plain_products.c), so that its bits are those of
# every processor.  They still depend on the C library and the compiler: SUMS names those it was made with.  Where others
# are installed, compare two builds on the same machine (exit code 77 says so).
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=configs/ranks.sh
. configs/ranks.sh
export OMP_NUM_THREADS=1 LC_ALL=C
out=${OUT:-build/cpu} simt=${SIMT_OUT:-build/simt}
atelier=$out/tests/refactoring/atelier
work=build/tmp/refactoring
sums=tests/refactoring/SUMS
selection=all only="" action=compare
while [ $# -gt 0 ]; do
    case $1 in
    --sample) selection=sample ;;
    --only) only=${2:?--only needs a word} && shift ;;
    --record) action=record ;;
    --against) sums=${2:?--against needs a file} && shift ;;
    *) echo "usage: run.sh [--sample] [--only WORD] [--record | --against FILE]" >&2 && exit 2 ;;
    esac
    shift
done

# environment - what the bits depend on, in one line.
environment() {
    local libc compiler
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null)
    compiler=$(mpicc -dumpfullversion 2>/dev/null)
    echo "# $(uname -m), ${libc:-libc unknown}, gcc ${compiler:-unknown}"
}

digest() { sha256sum | cut -c1-16; }

# make_inputs - a tokenizer of 31 characters, which every tiny model has room for, and text in it.
make_inputs() {
    rm -rf "$work" && mkdir -p "$work/models" || exit 1
    local characters="abcdefghijklmnopqrstuvwxyz ." vocabulary='"<unk>": 0, "<s>": 1, "</s>": 2' i added="" token
    for ((i = 0; i < ${#characters}; i++)); do
        vocabulary+=", \"${characters:i:1}\": $((i + 3))"
    done
    i=0
    for token in "<unk>" "<s>" "</s>"; do
        added+="${added:+, }{\"id\": $i, \"content\": \"$token\", \"single_word\": false, \"lstrip\": false,
            \"rstrip\": false, \"normalized\": false, \"special\": true}"
        i=$((i + 1))
    done
    cat >"$work/tokenizer.json" <<END
{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [$added], "normalizer": null,
 "pre_tokenizer": null, "post_processor": null, "decoder": null,
 "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
           "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
           "vocab": {$vocabulary}, "merges": []}}
END
    echo '{"bos_token": "<s>", "eos_token": "</s>"}' >"$work/tokenizer_config.json"
    head -n 60 data/sample/fiches.jsonl | sed 's/[^a-z .]//g' | cut -c1-700 >"$work/text.txt"
    sed 's/^/{"text": "/; s/$/"}/' "$work/text.txt" >"$work/text.jsonl"
    write_run_file
    "$atelier" prepare "$work/run.yaml" >"$work/log" 2>&1 || give_up "prepare"
    for model in tests/golden/models/*/config.json; do
        copy_model "$(dirname "$model")"
    done
}

copy_model() {
    local to=$work/models/${1##*/}
    mkdir -p "$to"
    cp "$1"/config.json "$1"/model* "$work/tokenizer.json" "$work/tokenizer_config.json" "$to"
}

write_run_file() {
    cat >"$work/run.yaml" <<END
prepare:
  tokenizer: $work/tokenizer.json
  output: $work/text.h5
  valid_every: 10
  sources: [{path: $work/text.jsonl, name: text, licence: none}]
run: {seed: 7, threads: 1, log_every: 1, timeout_s: 120, device: cpu, gemm_choices: none}
data: {train: $work/text.h5, valid: $work/text-valid.h5, sequence_tokens: 48}
train: {steps: 20, batch_sequences: 8, micro_sequences: 2}
optimizer: {learning_rate: 3e-3}
schedule: {kind: cosine, warmup_steps: 3}
checkpoint: {every_steps: 0, keep: 0}
valid: {sequences: 4}
END
}

give_up() { # not where rows are written to
    echo "FAILED: $1" >&2
    tail -n 15 "$work/log" | sed 's/^/    /' >&2
    exit 1
}

# new_model - the words that describe a model without a folder.
new_model="--set model.tokenizer=$work/tokenizer.json --set model.architecture.width=32 --set model.architecture.layers=3
    --set model.architecture.heads=4 --set model.architecture.kv_heads=2 --set model.architecture.ffn_width=48
    --set model.architecture.max_positions=64"

# files DIGEST_OF... - one digest of several files, in name order; "-" for none.
files() {
    if [ -e "${1:-}" ]; then
        cat "$@" | digest
    else
        echo -
    fi
}

# train_row NAME RANKS PROGRAM SETTING... - one run; prints its line.  Gradients are reduced after each micro-batch where a row
# does not say otherwise: what 'auto' takes is not what a row is about.
train_row() {
    local name=$1 ranks=$2 program=$3 step reduce=(--set parallel.reduce=micro)
    shift 3
    rm -rf "$work/run"
    case " $* " in *" parallel.stage="[01]" "* | *parallel.reduce=*) reduce=() ;; esac
    local command=("$program" train "$work/run.yaml" --set "run.folder=$work/run" "${reduce[@]}" "$@")
    [ "$ranks" -eq 0 ] || command=(mpirun -n "$ranks" "${command[@]}")
    "${command[@]}" >"$work/log" 2>&1 || give_up "$name: ${command[*]}"
    step=$work/run/$(cat "$work/run/latest")
    printf '%s %s %s %s' "$name" \
        "$(grep -oE '"(step|loss|grad_norm|learning_rate|valid_loss)": [^,}]*' "$work/run/metrics.jsonl" | digest)" \
        "$(files "$step"/*.safetensors)" "$(files "$step"/state/*.safetensors)"
}

# exports - of the run that train_row left.
exports() {
    local step type
    step=$work/run/$(cat "$work/run/latest")
    rm -rf "$work/hf" "$work"/*.gguf
    "$atelier" export "$step" --to hf --out "$work/hf" >"$work/log" 2>&1 || give_up "export of $step to hf"
    printf ' %s' "$(files "$work"/hf/*.safetensors)"
    for type in f32 q8_0; do
        "$atelier" export "$step" --to gguf --type $type --out "$work/$type.gguf" >"$work/log" 2>&1 ||
            give_up "export of $step to gguf $type"
        printf ' %s' "$(files "$work/$type.gguf")"
    done
}

# is_asked KIND NAME - KIND: sample (always) or all (not under --sample).
is_asked() {
    [ "$1" = sample ] || [ "$selection" = all ] || return 1
    case $2 in *"$only"*) ;; *) return 1 ;; esac
}

# row KIND NAME ... - one run, where it is asked for.
row() {
    is_asked "$1" "$2" || return 0
    shift
    train_row "$@" && echo
}

row_with_exports() {
    is_asked "$1" "$2" || return 0
    shift
    train_row "$@" && exports && echo
}

path_of() { echo "--set model.path=$work/models/$1"; }

# family_rows - every variant with its exports; but llama.cpp has no model with the scales of gemma3_old and gemma2, with proportional
# positions, and no Apertus whose head is the embedding; those with experts are exported in tests/scenario_experts.sh.
family_rows() {
    local folder variant kind
    for folder in "$work"/models/*; do
        variant=${folder##*/} kind=all
        case $variant in llama3 | smollm2) kind=sample ;; esac
        case $variant in
        gemma3_old | gemma2 | proportional | apertus_tied | mixtral | qwen3_moe | qwen3_moe_dense | olmoe | gpt_oss | glm4_moe | glm4_moe_air)
            # shellcheck disable=SC2046
            row all "family-$variant" 0 "$atelier" $(path_of "$variant")
            continue
            ;;
        esac
        # shellcheck disable=SC2046
        row_with_exports $kind "family-$variant" 0 "$atelier" $(path_of "$variant")
        # shellcheck disable=SC2046
        row_with_exports all "family-$variant-bf16-saved-bf16" 0 "$atelier" $(path_of "$variant") \
            --set train.compute=bf16 --set model.save_dtype=bf16
    done
}

# layout_rows - ranks, stages, types; a tied and an untied model.
layout_rows() {
    local variant ranks stage compute kind
    for variant in llama3 llama32_tied; do
        for ranks in 1 2 4; do
            for stage in 0 1 2 3; do
                for compute in f32 bf16 f16; do
                    kind=all
                    case $variant-$ranks-$stage-$compute in llama3-2-3-bf16 | llama32_tied-2-1-f32) kind=sample ;; esac
                    # shellcheck disable=SC2046
                    row $kind "layout-$variant-$ranks-ranks-stage-$stage-$compute" $ranks "$atelier" \
                        $(path_of "$variant") --set parallel.stage=$stage --set train.compute=$compute
                done
            done
        done
        for stage in 0 1 2 3; do
            # shellcheck disable=SC2046
            row all "replicas-$variant-stage-$stage" 4 "$atelier" $(path_of "$variant") \
                --set parallel.replicas=2 --set parallel.stage=$stage --set train.compute=bf16 --set parallel.wire=f32
        done
    done
}

# reduce_rows - whole gradients, reduced once a step.
reduce_rows() {
    local stage compute kind
    for stage in 2 3; do
        for compute in f32 bf16; do
            kind=all
            [ $stage-$compute != 3-f32 ] || kind=sample
            # shellcheck disable=SC2046
            row $kind "reduce-step-2-ranks-stage-$stage-$compute" 2 "$atelier" $(path_of llama3) \
                --set parallel.stage=$stage --set parallel.reduce=step --set train.compute=$compute
        done
    done
}

# wire_rows - gradients between replicas in the type that is computed in.
wire_rows() {
    local stage compute
    for stage in 1 3; do
        for compute in bf16 f16; do
            # shellcheck disable=SC2046
            row all "wire-$compute-stage-$stage" 4 "$atelier" $(path_of llama3) --set parallel.replicas=2 \
                --set parallel.stage=$stage --set train.compute=$compute
        done
    done
}

# apart_rows - replicas that learn apart; the last of 20 steps is an outer step of its own.
apart_rows() {
    local stage compute
    for stage in 1 3; do
        for compute in f32 bf16; do
            # shellcheck disable=SC2046
            row all "apart-$compute-stage-$stage" 4 "$atelier" $(path_of llama3) --set parallel.replicas=2 \
                --set parallel.stage=$stage --set train.compute=$compute --set parallel.sync_every=3 --set valid.every_steps=0
        done
    done
}

# tensor_rows - ranks that divide the tensors of a layer, alone and beside shards and replicas.
tensor_rows() {
    local variant compute kind
    for variant in llama3 qwen3_tied; do
        for compute in f32 bf16; do
            kind=all
            [ $variant-$compute != llama3-bf16 ] || kind=sample
            # shellcheck disable=SC2046
            row $kind "tensor-$variant-2-ranks-$compute" 2 "$atelier" $(path_of $variant) --set parallel.tensor=2 \
                --set train.compute=$compute
        done
    done
    # shellcheck disable=SC2046
    row all "tensor-llama3-4-ranks-stage-3" 4 "$atelier" $(path_of llama3) --set parallel.tensor=2 --set parallel.stage=3
    # shellcheck disable=SC2046
    row all "tensor-llama3-4-ranks-replicas" 4 "$atelier" $(path_of llama3) --set parallel.tensor=2 \
        --set parallel.replicas=2 --set parallel.stage=1
}

# expert_rows - experts of several ranks.
expert_rows() {
    # shellcheck disable=SC2046
    row sample "experts-mixtral-2-ranks-stage-3-bf16" 2 "$atelier" $(path_of mixtral) --set parallel.stage=3 \
        --set train.compute=bf16
    # shellcheck disable=SC2046
    row all "experts-gpt_oss-2-ranks-stage-1-bf16" 2 "$atelier" $(path_of gpt_oss) --set parallel.stage=1 \
        --set train.compute=bf16
    # shellcheck disable=SC2046
    row all "experts-qwen3_moe-4-ranks-stage-2" 4 "$atelier" $(path_of qwen3_moe) --set parallel.stage=2
}

# memory_rows - what is computed again, moments in bf16, masters in host memory, a new model.
memory_rows() {
    local recompute compute kind
    for recompute in attention mlp layer; do
        for compute in f32 bf16; do
            kind=all
            [ $recompute-$compute != layer-f32 ] || kind=sample
            # shellcheck disable=SC2046
            row $kind "recompute-$recompute-$compute" 2 "$atelier" $(path_of llama3) \
                --set train.recompute=$recompute --set train.compute=$compute
        done
    done
    # shellcheck disable=SC2086
    row sample "new-bf16-moments" 2 "$atelier" $new_model --set train.compute=bf16 --set optimizer.state_dtype=bf16
    # shellcheck disable=SC2086
    row sample "new-muon" 2 "$atelier" $new_model --set optimizer.kind=muon
    # shellcheck disable=SC2086
    row all "new-offload" 2 "$atelier" $new_model --set optimizer.offload=true --set train.compute=bf16
    # shellcheck disable=SC2086
    row all "new-untied" 1 "$atelier" $new_model --set model.architecture.tied_head=false
}

# vocabulary_rows - a tied head made one of its own; tokens that the data has, on rows of padding and on new ones.
vocabulary_rows() {
    local pairs # 36: the golden model has 64 rows, the tokenizer 31 tokens
    pairs=$(printf '%s,' a{a..z} e{a..j})
    local added="--set model.add_tokens=[${pairs%,}]"
    # shellcheck disable=SC2046
    row_with_exports sample "vocabulary-untied" 2 "$atelier" $(path_of llama32_tied) --set model.tied_head=false
    # shellcheck disable=SC2086
    "$atelier" prepare "$work/run.yaml" --set "prepare.output=$work/added.h5" $added >"$work/log" 2>&1 || give_up "prepare with tokens"
    # shellcheck disable=SC2046,SC2086
    row_with_exports sample "vocabulary-added" 2 "$atelier" $(path_of llama3) $added --set "data.train=$work/added.h5" \
        --set "data.valid=$work/added-valid.h5"
}

# adapter_rows - pairs beside a frozen model, with its exports merged.
adapter_rows() {
    local variant layout compute kind
    for variant in llama3 gemma3; do
        for layout in 1:0 2:1 2:3 4:2; do
            for compute in f32 bf16; do
                kind=all
                [ "$variant-$layout-$compute" != llama3-2:3-f32 ] || kind=sample
                # shellcheck disable=SC2046
                row_with_exports $kind "adapter-$variant-${layout%:*}-ranks-stage-${layout#*:}-$compute" "${layout%:*}" "$atelier" \
                    $(path_of $variant) --set adapter.method=lora --set adapter.rank=4 --set adapter.rslora=true \
                    --set adapter.b_learning_rate_ratio=4 --set "parallel.stage=${layout#*:}" --set train.compute=$compute
            done
        done
    done
    # shellcheck disable=SC2046
    row sample "adapter-dropout-2-ranks" 2 "$atelier" $(path_of llama3) --set adapter.method=lora --set adapter.rank=4 \
        --set adapter.dropout=0.2 --set parallel.stage=3
    partial_adapter_rows
    # shellcheck disable=SC2046
    row_with_exports all "adapter-whole-2-ranks" 2 "$atelier" $(path_of gemma3) --set adapter.method=lora --set adapter.rank=4 \
        --set "adapter.train=[norms, embedding]" --set parallel.stage=3
    # shellcheck disable=SC2046
    row_with_exports all "adapter-dora-2-ranks" 2 "$atelier" $(path_of qwen2) --set adapter.method=dora --set adapter.rank=4 \
        --set parallel.stage=3
}

# partial_adapter_rows - pairs on some matrices of the second layer: what no gradient reads is not kept, and the first layer has no
# backward.
partial_adapter_rows() {
    local variant recompute kind
    for variant in llama3 gemma3 olmo2; do
        for recompute in none attention mlp layer; do
            kind=all
            [ $variant-$recompute != llama3-none ] || kind=sample
            # shellcheck disable=SC2046
            row $kind "adapter-partial-$variant-$recompute" 2 "$atelier" $(path_of $variant) --set adapter.method=lora \
                --set adapter.rank=4 --set "adapter.targets=[q, down]" --set "adapter.layers=[1]" --set parallel.stage=3 \
                --set train.recompute=$recompute
        done
    done
}

# quantised_rows - pairs beside a model whose matrices are kept in fewer bits.
quantised_rows() {
    local form layout compute kind
    for form in nf4 nf4_double fp8 int8; do
        for layout in 1:0 2:3; do
            for compute in f32 bf16; do
                kind=all
                [ "$form-$layout-$compute" != nf4-2:3-bf16 ] || kind=sample
                # shellcheck disable=SC2046
                row $kind "adapter-base-$form-${layout%:*}-ranks-stage-${layout#*:}-$compute" "${layout%:*}" "$atelier" \
                    $(path_of llama3) --set adapter.method=lora --set adapter.rank=4 --set "adapter.base=$form" \
                    --set "parallel.stage=${layout#*:}" --set train.compute=$compute
            done
        done
    done
}

# compared_data - pairs and labels in words that the tokenizer has, as $work/pair.h5 and $work/label.h5.
compared_data() {
    local i record
    for ((i = 0; i < 24; i++)); do
        printf '{"prompt": "le %s", "chosen": " est %s", "rejected": " va %s"}\n' \
            "${abc:i:3}" "${abc:i % 7:4}" "${abc:i % 5:3}"
    done >"$work/pair.jsonl"
    sed 's/"chosen"/"completion"/; s/"rejected": .*}/"label": true}/; n; s/"chosen"/"completion"/; s/"rejected": .*}/"label": false}/' \
        "$work/pair.jsonl" >"$work/label.jsonl"
    for record in pair label; do
        "$atelier" prepare "$work/run.yaml" --set "prepare.sources=[{path: $work/$record.jsonl, record: $record}]" \
            --set "prepare.output=$work/$record.h5" >"$work/log" 2>&1 || give_up "prepare of $record"
    done
}

# preference_rows - objectives that compare documents, with all weights and with an adapter.
preference_rows() {
    local abc=abcdefghijklmnopqrstuvwxyzabcdefgh kind sort layout method rank
    [ -z "$only" ] || [[ $only == preference* ]] || return 0
    compared_data
    for sort in dpo orpo simpo kto; do
        for layout in 1:0 2:3; do
            for method in none lora; do
                kind=all
                [ "$sort-$layout-$method" != dpo-2:3-lora ] || kind=sample
                rank=""
                [ $method = none ] || rank="--set adapter.rank=4"
                # shellcheck disable=SC2046,SC2086
                row $kind "preference-$sort-${layout%:*}-ranks-stage-${layout#*:}-adapter-$method" "${layout%:*}" "$atelier" \
                    $(path_of llama3) --set "objective.kind=$sort" --set "adapter.method=$method" $rank \
                    --set "parallel.stage=${layout#*:}" --set data.packing=whole --set data.long_documents=skip \
                    --set "data.train=$work/$([ $sort = kto ] && echo label || echo pair).h5" --set data.valid=null
            done
        done
    done
}

# distilled_rows - a student of another family than its teacher.
distilled_rows() {
    local layout compute kind
    [ -z "$only" ] || [[ $only == distill* ]] || return 0
    "$atelier" eval "$work/models/smollm2" --data "$work/text.h5" --sequence-tokens 48 --top-k 8 --temperature 2 \
        --output "$work/text.teacher" >"$work/log" 2>&1 || give_up "a teacher"
    for layout in 1:0 2:3 4:2; do
        for compute in f32 bf16; do
            kind=all
            [ "$layout-$compute" != 2:3-f32 ] || kind=sample
            # shellcheck disable=SC2046
            row $kind "distill-${layout%:*}-ranks-stage-${layout#*:}-$compute" "${layout%:*}" "$atelier" $(path_of llama3) \
                --set objective.kind=distill --set "objective.teacher=$work/text.teacher" --set objective.temperature=2 \
                --set objective.top_k=8 --set "parallel.stage=${layout#*:}" --set train.compute=$compute
        done
    done
}

# cuda_rows - the kernels by their stand-in on the host: few steps, it is slow.
cuda_rows() {
    local compute stage arch expert
    [ -x "$simt/atelier" ] || return 0
    for arch in 80 90; do
        for compute in f32 bf16 f16; do
            for stage in 1 3; do
                # shellcheck disable=SC2046
                SIMT_ARCH=$arch row "$([ $arch-$compute-$stage = 90-bf16-3 ] && echo sample || echo all)" \
                    "cuda-sm_$arch-$compute-stage-$stage" 2 "$simt/atelier" $(path_of llama32_tied) \
                    --set run.device=cuda --set train.steps=3 --set schedule.warmup_steps=1 \
                    --set parallel.stage=$stage --set train.compute=$compute
            done
        done
    done
    # Experts: rows that tensor cores cannot take, and rows that they do.
    expert="--set run.device=cuda --set train.steps=3 --set schedule.warmup_steps=1 --set parallel.stage=3
        --set train.compute=bf16"
    # shellcheck disable=SC2046,SC2086
    SIMT_ARCH=80 row all cuda-sm_80-mixtral-bf16-stage-3 2 "$simt/atelier" $(path_of mixtral) $expert
    # shellcheck disable=SC2046,SC2086
    SIMT_ARCH=80 row all cuda-sm_80-gpt_oss-bf16-stage-3-losses-of-routers 2 "$simt/atelier" $(path_of gpt_oss) $expert \
        --set objective.load_balance=0.02 --set objective.router_z=0.01
    # shellcheck disable=SC2086
    SIMT_ARCH=80 row all cuda-sm_80-new-experts-bf16-stage-3 2 "$simt/atelier" $new_model $expert \
        --set model.architecture.family=qwen3_moe --set model.architecture.experts=6 --set model.architecture.experts_per_token=2
}

all_rows() {
    environment
    family_rows
    layout_rows
    reduce_rows
    wire_rows
    apart_rows
    tensor_rows
    expert_rows
    memory_rows
    vocabulary_rows
    adapter_rows
    quantised_rows
    preference_rows
    distilled_rows
    cuda_rows
}

# compare - every line that was computed must stand in the sums; a row that is missing there is a difference, too.
compare() {
    local bad
    if [ "$(head -n 1 "$sums")" != "$(head -n 1 "$work/now")" ]; then
        head -n 1 "$sums" "$work/now"
        echo "$sums was made with other libraries: record with the older commit's build, then --against that file"
        exit 77
    fi
    bad=$(grep -vxFf "$sums" "$work/now")
    [ -n "$bad" ] || return 0
    echo "other bits than $sums says (name, losses, weights, state, exports):"
    while read -r name _; do
        grep "^$name " "$sums" | sed 's/^/    then /'
        grep "^$name " "$work/now" | sed 's/^/    now  /'
    done <<<"$bad"
    exit 1
}

# control - the comparison must see a difference: a run with another seed has other bits.
control() {
    local before after
    # shellcheck disable=SC2086
    before=$(train_row control 0 "$atelier" $new_model --set train.steps=3 --set schedule.warmup_steps=1) || exit 1
    # shellcheck disable=SC2086
    after=$(train_row control 0 "$atelier" $new_model --set train.steps=3 --set schedule.warmup_steps=1 \
        --set run.seed=8) || exit 1
    [ "$before" != "$after" ] || { echo "FAILED: a run with another seed has the same bits" && exit 1; }
}

make_inputs
control
all_rows >"$work/now" || exit 1
if [ "$action" = record ] && [ -n "$only" ]; then
    [ "$(head -n 1 "$sums")" = "$(head -n 1 "$work/now")" ] || compare # which says so
    while read -r name rest; do
        grep -q "^$name " "$sums" || echo "$name $rest" >>"$sums"
    done < <(tail -n +2 "$work/now")
    compare
    echo "$(($(wc -l <"$work/now") - 1)) runs are in $sums"
elif [ "$action" = record ]; then
    cp "$work/now" "$sums"
    echo "$(($(wc -l <"$sums") - 1)) runs recorded in $sums"
else
    compare
    echo "$(($(wc -l <"$work/now") - 1)) runs, the same bits as $sums"
fi
