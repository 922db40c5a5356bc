#!/bin/sh
# scenario_plan.sh - what `atelier plan` says and what a run then does are one: the memory over a grid of layouts, part by
# part, against what the run reports; the peak of resident memory against the plan; what 'auto' chooses.  Of a job on a
# site: the whole screen, and the exit code when it does not fit.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario plan
prepare_sample
run_file=tests/scenario/memory.yaml

planned_bytes() { # of the JSON in the last output
    json_number device "$log"
}

reported_gib() { # of the run in the last output
    sed -n 's/^memory per rank, planned: \([0-9.]*\) GiB.*/\1/p' "$log"
}

# agrees BYTES GIB - within 2 %, and a thousandth of a GiB, which is what is printed.
agrees() {
    awk -v a="$1" -v b="$2" 'BEGIN { d = a / 1073741824 - b; if (d < 0) d = -d; exit !(b > 0 && d <= 0.02 * b + 0.001) }'
}

# compare RANKS ARGUMENT... - plan, then a run of one step of a small model.
compare() {
    ranks=$1
    shift
    set -- "$run_file" --set "data.train=$work/fiches.h5" --set "run.folder=$work/run" --set train.steps=1 \
        --set model.architecture.width=128 --set model.architecture.heads=4 --set data.sequence_tokens=64 \
        --set model.architecture.ffn_width=512 "$@"
    run 0 "$atelier" plan "$@" --ranks "$ranks" --json
    plan=$(planned_bytes)
    cp "$log" "$work/plan.json"
    run 0 on_ranks "$ranks" "$atelier" train "$@"
    agrees "$plan" "$(reported_gib)" || fail "$ranks ranks, $*: planned $plan bytes, the run reports $(reported_gib) GiB"
    rm -rf "$work/run"
}

number=0
for ranks in 1 2 4; do
    for stage in 0 1 2 3; do
        # Each stage once with every way to recompute, micro-batches and replicas in turn.
        for recompute in none attention mlp layer; do
            number=$((number + 1))
            [ $(((number + stage + ranks) % 4)) = 0 ] || continue # a quarter of the grid, none of its axes left out
            micro=$((number % 2 + 1)) replicas=1
            [ "$ranks" = 4 ] && replicas=$((stage % 2 + 1))
            compare "$ranks" --set "parallel.stage=$stage" --set "train.recompute=$recompute" \
                --set "train.micro_sequences=$micro" --set "parallel.replicas=$replicas"
            count=$((${count:-0} + 1))
        done
    done
done
say "$count layouts: the plan's memory is the run's"
# The control: a layout that is not the planned one is seen.
compare 2 --set parallel.stage=0
whole=$plan
compare 2 --set parallel.stage=3
agrees "$whole" "$(awk -v a="$plan" 'BEGIN { print a / 1073741824 }')" && fail "stages 0 and 3 take the same: nothing is compared"

# Gradients reduced once a step are whole, and planned so; a stage that knows no other way refuses the word.
compare 2 --set parallel.stage=3 --set parallel.reduce=micro
parts=$(json_number gradients "$work/plan.json")
compare 2 --set parallel.stage=3 --set parallel.reduce=step
expect "gradients of two ranks that keep them whole" "$((2 * parts))" "$(json_number gradients "$work/plan.json")"
run 2 "$atelier" plan "$run_file" --ranks 2 --set "data.train=$work/fiches.h5" --set parallel.stage=1 --set parallel.reduce=micro
expect_output "'parallel.reduce' is micro, and at parallel.stage 1"

# The exchanges of a step are one list, and what is told of them is its sum; a folder that is not there is an error.
run 0 "$atelier" plan "$run_file" --ranks 4 --set "data.train=$work/fiches.h5" --set parallel.stage=3 --set parallel.replicas=2 \
    --set train.micro_sequences=1 --json --schedule "$work/schedule.tsv"
listed() { # AXIS - bytes
    awk -F '\t' -v axis="$1" 'NR > 1 && $6 == axis { sum += $8 } END { printf "%.0f", sum }' "$work/schedule.tsv"
}
expect "bytes inside a replica" "$(json_number inside "$log")" "$(listed shard)"
expect "bytes between replicas" "$(json_number across "$log")" "$(listed replica)"
[ "$(listed shard)" -gt 0 ] || fail "nothing is listed"
[ "$(listed replica)" -gt 0 ] || fail "nothing is listed between replicas"
run 0 "$atelier" plan "$run_file" --ranks 4 --set "data.train=$work/fiches.h5" --set parallel.stage=3 --set parallel.tensor=2 \
    --set model.architecture.heads=8 --set model.architecture.kv_heads=4 --set train.micro_sequences=1 --json --schedule "$work/schedule.tsv"
sed -n '/"exchange_bytes"/,/}/p' "$log" >"$work/exchange.json"
tensor_bytes=$(json_number tensor "$work/exchange.json")
expect "bytes between ranks that divide tensors" "$tensor_bytes" "$(listed tensor)"
[ "$tensor_bytes" -gt 0 ] || fail "nothing is listed between ranks that divide tensors"
grep -q "	layer 0	.*	tensor	join rows	" "$work/schedule.tsv" || fail "no rows of layer 0 are joined"
run 2 "$atelier" plan "$run_file" --ranks 4 --set "data.train=$work/fiches.h5" --set parallel.stage=3 --set parallel.replicas=2 \
    --set train.micro_sequences=1 --schedule "$work/none/schedule.tsv"
expect_output "--schedule '.*/none/schedule.tsv' cannot be written: "

# What 'auto' chooses is the same in both, and said.
for ranks in 2 4; do
    compare "$ranks" --set train.micro_sequences=auto --set train.recompute=auto --set parallel.stage=auto \
        --set parallel.replicas=auto
    chosen=$(sed -n 's/^  "chosen": "\(.*\)".*/\1/p' "$work/plan.json")
    case $chosen in
    "replicas "*", the fastest expected of what fits: "*) ;;
    *) fail "what was chosen is told as '$chosen'" ;;
    esac
    expect "what 'auto' chose" "$chosen" "$(sed -n 's/^chosen: //p' "$log")"
done

# Fewer texts than ranks are planned where ranks can share one, and refused by name where they cannot.
set -- --set "data.train=$work/fiches.h5" --set model.architecture.width=128 --set model.architecture.heads=4 --set train.batch_sequences=2
run 0 "$atelier" plan "$run_file" --ranks 4 "$@" --set parallel.context=auto
expect_output "2 share the tokens of a text"
run 2 "$atelier" plan "$run_file" --ranks 5 "$@" --set parallel.context=auto
expect_output "5 ranks for train.batch_sequences 2: some ranks would have nothing to do"
compare 4 --set parallel.context=auto --set train.micro_sequences=auto --set train.recompute=auto --set parallel.stage=auto
chosen=$(sed -n 's/^  "chosen": "\(.*\)".*/\1/p' "$work/plan.json")
case $chosen in
"context "*", the fastest expected of what fits: "*) ;;
*) fail "of parallel.context: auto what was chosen is told as '$chosen'" ;;
esac
expect "what parallel.context: auto chose" "$chosen" "$(sed -n 's/^chosen: //p' "$log")"

# Short sequences together, where nothing is said: the same in both.
compare 2 --set train.micro_sequences=null --set train.batch_sequences=32
chosen=$(sed -n 's/^  "chosen": "\(.*\)".*/\1/p' "$work/plan.json")
case $chosen in
"micro_sequences 8 (short ones together), "*) ;;
*) fail "of 32 sequences of 64 tokens on 2 ranks what was chosen is told as '$chosen'" ;;
esac
expect "what train.micro_sequences: group chose" "$chosen" "$(sed -n 's/^chosen: //p' "$log")"

compare 4 --set parallel.tensor=auto --set train.micro_sequences=auto --set train.recompute=auto --set parallel.stage=auto
chosen=$(sed -n 's/^  "chosen": "\(.*\)".*/\1/p' "$work/plan.json")
case $chosen in
"tensor "*", the fastest expected of what fits: "*) ;;
*) fail "of parallel.tensor: auto what was chosen is told as '$chosen'" ;;
esac
expect "what parallel.tensor: auto chose" "$chosen" "$(sed -n 's/^chosen: //p' "$log")"

# What a rank really takes beyond a model of no size is what the plan says: 4 ranks, all split.
peak() { # ARGUMENT... - of rank 0, in bytes; the plan in $plan
    set -- "$run_file" --set "data.train=$work/fiches.h5" --set "run.folder=$work/run" --set parallel.stage=3 "$@"
    run 0 "$atelier" plan "$@" --ranks 2 --json
    plan=$(planned_bytes)
    run 0 on_ranks 2 "$atelier" train "$@"
    taken=$(grep '^{"step"' "$work/run/metrics.jsonl" | tail -n 1 | sed 's/.*"peak_memory_bytes": \([0-9]*\).*/\1/')
    rm -rf "$work/run"
}
peak --set model.architecture.width=8 --set model.architecture.heads=1 --set model.architecture.layers=1 \
    --set model.architecture.ffn_width=8
bare=$taken bare_plan=$plan
peak
say "planned $((plan - bare_plan)), taken $((taken - bare)) bytes more than a model of no size"
awk -v a="$((taken - bare))" -v b="$((plan - bare_plan))" 'BEGIN { d = a - b; exit !(d <= 0.1 * b && -d <= 0.1 * b) }' ||
    fail "planned $((plan - bare_plan)) bytes, taken $((taken - bare))"

# A job on a site: model.path needs its config.json alone.
mkdir "$work/model"
cat >"$work/model/config.json" <<'END'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
 "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
 "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu",
 "torch_dtype": "bfloat16", "tie_word_embeddings": false, "bos_token_id": 128000, "eos_token_id": 128001}
END
long_texts="configs/jeanzay_v100_8b_continue.yaml --set model.path=$work/model --set slurm.nodes=2 --set data.sequence_tokens=32768 --set
    train.batch_sequences=32"
# shellcheck disable=SC2086 # words
run 2 "$atelier" plan $long_texts
expect_output "fits: ranks of a node divide each layer"
words=$(sed -n 's/^better *//p' "$log")
# shellcheck disable=SC2086 # words
run 0 "$atelier" plan $long_texts $words
expect_output '^memory .*it fits'

# Where ranks cannot divide layers (whole matrices have owners) they share texts: as few as fit.  The control: half as many do not.
long_texts="configs/jeanzay_h100_8b_continue.yaml --set model.path=$work/model --set slurm.nodes=1 --set data.sequence_tokens=131072 --set
    train.batch_sequences=4 --set optimizer.kind=muon --set slurm.time=1h"
# shellcheck disable=SC2086 # words
run 2 "$atelier" plan $long_texts
expect_output "fits: ranks share the tokens of a text"
words=$(sed -n 's/^better *//p' "$log")
case $words in *"--set parallel.context="[24]*) ;; *) fail "what is better is told as '$words'" ;; esac
# shellcheck disable=SC2086 # words
run 0 "$atelier" plan $long_texts $words
expect_output '^memory .*it fits'
# shellcheck disable=SC2086 # words
run 2 "$atelier" plan $long_texts $words --set parallel.context=1

# What parallel.tensor: auto chooses takes as long as the fastest of the numbers set by hand, which is not 1.
by_tensor() { # NUMBER - of a text of 32768 tokens on one node: seconds of a step
    run 0 "$atelier" plan configs/jeanzay_h100_8b_continue.yaml --set "model.path=$work/model" --set slurm.nodes=1 \
        --set data.sequence_tokens=32768 --set train.batch_sequences=32 --set "parallel.tensor=$1" --json
    json_number step_s "$log"
}
alone=$(by_tensor 1) by_hand=$(printf '%s\n' "$alone" "$(by_tensor 2)" "$(by_tensor 4)" | sort -g | head -n 1)
expect "the step of parallel.tensor: auto" "$by_hand" "$(by_tensor auto)"
grep -q '"chosen": "tensor [24], ' "$log" || fail "parallel.tensor: auto takes none: $(grep chosen "$log")"
[ "$alone" != "$by_hand" ] || fail "without parallel.tensor a step takes as long"
for preset in configs/jeanzay_*_8b_*.yaml; do
    run 0 "$atelier" plan "$preset" --set "model.path=$work/model"
    expect_output '^memory .*it fits'
    expect_output '^speed .* tokens/s \(margin [0-9]+ to [0-9]+\)'
    expect_output '^jobs '
    expect_output 'GPU-hours'
    expect_output 'g/kWh: French electricity production'
    expect_output 'assumed: [0-9]* % of a peak of'
    [ "$(wc -l <"$log")" -le 30 ] || fail "the plan is more than a screen"
done
run 2 "$atelier" plan configs/jeanzay_a100_8b_continue.yaml --set "model.path=$work/model" --set slurm.nodes=1 \
    --set slurm.gpus_per_node=1 --set train.recompute=none --set train.micro_sequences=8
expect_output 'IT DOES NOT FIT'
expect_output '^better +--set '
run 2 "$atelier" plan configs/jeanzay_a100_8b_continue.yaml --set "model.path=$work/none"
expect_output 'config.json'
# Its own advice is good: what it says fits, fits.
advice=$("$atelier" plan configs/jeanzay_a100_8b_continue.yaml --set "model.path=$work/model" --set slurm.nodes=1 \
    --set train.micro_sequences=32 --set train.recompute=none 2>/dev/null | sed -n 's/^better *//p')
[ -n "$advice" ] || fail "no advice for what does not fit"
# shellcheck disable=SC2086
run 0 "$atelier" plan configs/jeanzay_a100_8b_continue.yaml --set "model.path=$work/model" --set slurm.nodes=1 \
    --set train.micro_sequences=32 --set train.recompute=none $advice

# A calibration takes the place of assumptions, and says so.
run 0 "$atelier" doctor --calibrate "$work/calibration.json"
ATELIER_CALIBRATION=$work/calibration.json
export ATELIER_CALIBRATION
run 0 "$atelier" plan "$tiny" --ranks 2 --set "run.folder=$work/tiny"
expect_output '^ +measured on '
