#!/bin/sh
# scenario_adapter_memory.sh - the memory of an adapter, for several families, targets and layers: what 'plan' says is what 'train' says,
# within 2 %; it is less where fewer gradients read activations, and by as much less is taken, within 2 % as well.  Taken is the peak of
# resident memory (VmHWM, in metrics.jsonl); program, libraries, MPI and what matrix products pack are the same in all runs of a model,
# and fall out of the difference.  Control: the plan of every matrix is not that of q and v.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario adapter_memory
prepare_sample
run_file=$work/run.yaml
cat >"$run_file" <<END
run: {seed: 7, threads: 1, log_every: 1, device: cpu}
data: {train: $work/fiches.h5, sequence_tokens: 512}
train: {steps: 1, batch_sequences: 4, micro_sequences: 4}
checkpoint: {keep: 1}
END

# make_base NAME FAMILY SIZE... - $work/NAME-base, a new model that has been trained for a step.
make_base() {
    base_name=$1 family=$2
    shift 2
    run 0 "$atelier" train "$run_file" --set "run.folder=$work/$base_name" --set model.tokenizer=data/sample/tokenizer/tokenizer.json \
        --set "model.architecture.family=$family" --set model.architecture.max_positions=512 --set train.steps=1 \
        --set data.sequence_tokens=64 --set train.micro_sequences=1 "$@"
    mv "$work/$base_name/step-000001" "$work/$base_name-base" && rm -rf "${work:?}/$base_name"
}

# measure BASE [SETTING]... - sets planned and said, of plan and of train, and peak; bytes.
measure() {
    base=$1
    shift
    set -- --set "model.path=$base" --set adapter.method=lora --set adapter.rank=4 "$@"
    run 0 "$atelier" plan "$run_file" --ranks 1 --json "$@"
    planned=$(sed -n 's/^ *"device": \([0-9]*\)$/\1/p' "$log")
    rm -rf "$work/run"
    run 0 "$atelier" train "$run_file" --set "run.folder=$work/run" "$@"
    said=$(sed -n 's/^memory per rank, planned: \([0-9.]*\) GiB.*/\1/p' "$log" | awk '{ printf "%.0f", $1 * 1073741824 }')
    peak=$(grep '^{"step"' "$work/run/metrics.jsonl" | tail -n 1 | sed 's/.*"peak_memory_bytes": \([0-9]*\).*/\1/')
}

# is_near A B - within 2 % of B.
is_near() {
    awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(b > 0 && d <= 0.02 * b && -d <= 0.02 * b) }'
}

# check FAMILY WHAT [SETTING]... - sets planned and peak.
check() {
    family=$1 what=$2
    shift 2
    measure "$work/$family-base" "$@"
    is_near "$said" "$planned" || fail "$family, $what: plan says $planned bytes, train $said"
    say "$family, $what: planned $planned bytes, peak of the process $peak"
}

# is_less_by_plan - by as much as the plan says.
is_less_by_plan() { is_near "$((whole_peak - peak))" "$((whole - planned))"; }

# measure_again FAMILY WHAT [SETTING]... - both; the smaller peaks count: what the allocator takes besides for a thread only adds.
measure_again() {
    once=$peak again=$1
    shift 2
    measure "$work/$again-base" "$@"
    [ "$peak" -lt "$once" ] || peak=$once
    once=$peak less=$planned less_said=$said
    measure "$work/$again-base"
    [ "$peak" -gt "$whole_peak" ] || whole_peak=$peak
    peak=$once planned=$less said=$less_said
}

# check_less FAMILY WHAT [SETTING]... - than with every matrix.
check_less() {
    check "$@"
    for _ in 1 2 3; do
        is_less_by_plan || measure_again "$@"
    done
    is_less_by_plan ||
        fail "$1, $2: the plan says $((whole - planned)) bytes less than with every matrix, and $((whole_peak - peak)) less were taken"
}

# A plain feed-forward part; a gated one with norms before and after.
for family in $(sampled "nemotron gemma3_text" "llama nemotron olmo2 gemma3_text"); do
    make_base "$family" "$family" --set model.architecture.width=256 --set model.architecture.heads=4 --set model.architecture.layers=6 \
        --set model.architecture.ffn_width=704
    check "$family" "every matrix"
    whole=$planned whole_peak=$peak
    check_less "$family" "q and v" --set 'adapter.targets=[q, v]'
    if is_near "$whole" "$planned" || is_near "$whole" "$said"; then # the control
        fail "$family: the plan of every matrix is that of q and v: the comparison sees nothing"
    fi
    few=$planned
    check_less "$family" "q and v of the last two layers" --set 'adapter.targets=[q, v]' --set 'adapter.layers=[4-5]'
    [ "$planned" -lt "$few" ] || fail "$family: $planned bytes in two layers, $few in all"
    rm -rf "$work/$family-base"
done
