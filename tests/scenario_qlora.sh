#!/bin/sh
# scenario_qlora.sh - an adapter beside a base in fewer bits: the losses are those beside a base of the values that the form leaves,
# which another program made, in every layout, stopped and gone on with; memory is as planned, and models of 24 and 70 billion
# parameters take as little as is claimed; what is merged is the base as it is stored; preferences are compared with the base in
# the same form.  Controls: another form, the base as it is.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario qlora
command -v python3 >/dev/null || skip "no python3, which makes the bases to compare with"
prepare_sample
train 0 0 "$work/base" --set train.steps=4 --set model.architecture.initializer_range=0.1 # so that its matrices matter
base=$work/base/step-000004
adapt "$base"

# told RUN - the validation losses that it told.
told() { sed -n 's/^{"event": "validation", "step": \([0-9]*\), "loss": \([0-9.]*\),.*/\1 \2/p' "$1/metrics.jsonl"; }

# --- beside a base of the values that are left, made by another program ---

train 0 0 "$work/plain"
for form in nf4 fp8 int8; do
    run 0 python3 tests/scenario/dequantised.py "$form" "$base" "$work/base-$form"
    expect "matrices of layers" "14 matrices" "$(cat "$log")"
    train 0 0 "$work/$form" --set "adapter.base=$form"
    expect_output "the layers' matrices are kept in $form"
    train 0 0 "$work/beside-$form" --set "model.path=$work/base-$form"
    worst=$(difference "$work/$form" "$work/beside-$form")
    is_at_most "$worst" 1e-5 || fail "$form: losses beside a dequantised base differ by $worst"
    told "$work/$form" >"$work/a" && told "$work/beside-$form" >"$work/b"
    is_within "$work/a" "$work/b" 1e-5 || fail "$form: other validation losses"
    is_at_most "$(difference "$work/$form" "$work/plain")" 1e-5 && fail "$form has the losses of the base as it is"
done
is_at_most "$(difference "$work/nf4" "$work/beside-int8")" 1e-5 && fail "nf4 has the losses of int8"
train 0 0 "$work/nf4_double" --set adapter.base=nf4_double
worst=$(difference "$work/nf4_double" "$work/nf4")
is_at_most "$worst" 1e-5 && fail "scales in eight bits change nothing"
is_at_most "$worst" 5e-3 || fail "scales in eight bits change the losses by $worst"

# --- in every layout; stopped, and gone on with on other ranks ---

for form in nf4 nf4_double int8; do
    layouts="2:0 2:1 2:2 2:3 4:3"
    [ $form = nf4 ] || layouts=$(sampled "2:3" "$layouts") # how blocks are split between ranks is the same for every form
    for layout in $layouts; do
        train 0 "${layout%:*}" "$work/$form-$layout" --set "adapter.base=$form" --set "parallel.stage=${layout#*:}"
        worst=$(difference "$work/$form" "$work/$form-$layout")
        is_at_most "$worst" 1e-5 || fail "$form, $layout (ranks, stage) has other losses than one rank: $worst"
    done
done
train 75 2 "$work/part" --set adapter.base=nf4_double --set train.stop_after_s=0.001
train 0 3 "$work/part" --set adapter.base=nf4_double --set parallel.stage=3
is_at_most "$(difference "$work/nf4_double" "$work/part")" 1e-5 || fail "a run that went on has other losses"
expect_complete "$work/part" 10
train '[12]' 2 "$work/part" --set adapter.base=nf4 --set train.steps=12
expect_output "adapter.base.*nf4_double.*nf4|adapter.base.*nf4.*nf4_double"

# --- what it leaves: a PEFT folder as before, merged into the base as it is stored ---

step=$work/nf4/step-000010
for file in adapter_config.json adapter_model.safetensors state/master.safetensors provenance.json; do
    [ -s "$step/$file" ] || fail "'$step/$file' is missing"
done
cmp -s "$step/adapter_config.json" "$work/plain/step-000010/adapter_config.json" || fail "adapter_config.json differs"
expect "bytes of the pairs" "$(stat -c %s "$work/plain/step-000010/adapter_model.safetensors")" \
    "$(stat -c %s "$step/adapter_model.safetensors")"
grep -q '"base": "nf4"' "$step/provenance.json" || fail "provenance.json does not tell the form"
grep -q '^- Matrices of the base while it was trained: nf4' "$step/README.md" || fail "the model card does not tell the form"
run 0 "$atelier" export "$step" --to hf --type f32 --out "$work/merged"
run 0 "$atelier" export "$step" --base "$base" --to hf --type f32 --out "$work/merged-again"
cmp -s "$work/merged/model.safetensors" "$work/merged-again/model.safetensors" || fail "two exports differ"
run 0 python3 - "$base" "$step" "$work/merged" <<'END'
import json, struct, sys

def tensors(path):
    data = open(path, "rb").read()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    return {name: (t["shape"], struct.unpack(f"<{(t['data_offsets'][1] - t['data_offsets'][0]) // 4}f",
                   data[start + t["data_offsets"][0]:start + t["data_offsets"][1]]))
            for name, t in json.loads(data[8:start]).items() if name != "__metadata__"}

base, pairs, merged = (tensors(p) for p in (sys.argv[1] + "/model.safetensors", sys.argv[2] + "/adapter_model.safetensors",
                                            sys.argv[3] + "/model.safetensors"))
name = "model.layers.1.mlp.down_proj"
(rows, cols), weight = base[name + ".weight"]
a, b = (pairs[f"base_model.model.{name}.lora_{half}.weight"][1] for half in "AB")
worst = max(abs(merged[name + ".weight"][1][i * cols + j] - weight[i * cols + j] -
                2 * sum(b[i * 4 + r] * a[r * cols + j] for r in range(4))) for i in range(rows) for j in range(cols))
moved = max(abs(x - y) for x, y in zip(merged[name + ".weight"][1], weight))
assert worst < 1e-6 < 1e-4 < moved, (worst, moved)
END

# --- preferences: the reference is the base, in the same form ---

run 0 "$atelier" prepare "$tiny" --set prepare.tokenizer=data/sample/tokenizer/tokenizer.json \
    --set 'prepare.sources=[{path: data/sample/votes.jsonl, record: vote}]' --set prepare.valid_every=8 \
    --set "prepare.output=$work/pairs.h5"

# prefer CODE FOLDER [ARGUMENT...] - first_loss: of the training, ln 2 where the model begins as its reference.
prefer() {
    prefer_code=$1 folder=$2
    shift 2
    train "$prefer_code" 0 "$folder" --set "data.train=$work/pairs.h5" --set data.valid=null --set data.sequence_tokens=256 \
        --set data.packing=whole --set data.long_documents=skip --set objective.kind=dpo --set train.steps=4 "$@"
    first_loss=$(losses "$folder" | sed -n '1s/.* //p')
}
log_2=0.693147180559945
is_start() { is_at_most "$(awk -v a="$first_loss" -v b="$log_2" 'BEGIN { print (a > b ? a - b : b - a) }')" 1e-6; }
for form in compute nf4; do
    prefer 0 "$work/dpo-$form" --set "adapter.base=$form"
    is_start || fail "dpo beside a base in $form begins with a loss of $first_loss"
done
reference=$(find "$work" -name 'pairs.h5.reference-*-f32-nf4')
plain=${reference%-nf4}
if [ ! -s "$reference" ] || [ ! -s "$plain" ]; then
    fail "no files of references: '$reference'"
fi
cp "$reference" "$work/kept" && cp "$plain" "$reference"
prefer '[12]' "$work/dpo-wrong" --set adapter.base=nf4
expect_output "were computed in another type"
rm "$reference"
prefer 0 "$work/dpo-nf4" --set adapter.base=nf4 --set train.steps=5
cmp -s "$reference" "$work/kept" || fail "a run that went on computed another reference"
rm "$reference"
prefer 0 "$work/dpo-on" --set adapter.base=nf4 --set "adapter.path=$step" --set adapter.rank=null --set adapter.alpha=null
cmp -s "$reference" "$work/kept" || fail "an adapter to begin with changes what its base says"
is_start && fail "the training did not begin with the adapter"

# --- what is planned is what is taken ---

for form in nf4 nf4_double fp8 int8; do
    [ "$form" = fp8 ] && layout=1:0 || layout=2:3
    [ "$form" = fp8 ] && folder=$work/fp8 || folder=$work/$form-$layout
    planned=$(sed -n 's/^memory per rank, planned: \([0-9.]*\) .*/\1/p' "$folder/log.txt")
    run 0 "$atelier" plan "$tiny" --ranks "${layout%:*}" --set "run.folder=$work/plan" --set "data.train=$work/fiches.h5" \
        --set "parallel.stage=${layout#*:}" --set "adapter.base=$form" --json
    expect "memory of a rank in $form, in GiB" "$planned" \
        "$(json_number device "$log" | awk '{ printf "%.3f", $1 / 1024 / 1024 / 1024 }')"
done
run 0 "$atelier" plan "$tiny" --ranks 1 --set "run.folder=$work/plan" --set "data.train=$work/fiches.h5" --set adapter.base=nf4
expect_output "of them trained; the layers' matrices are kept in nf4\)"

# large FOLDER WIDTH LAYERS HEADS HEAD_DIM FFN VOCABULARY - config.json of a model that is only planned.
large() {
    mkdir -p "$work/$1"
    cat >"$work/$1/config.json" <<END
{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": $2, "num_hidden_layers": $3,
 "num_attention_heads": $4, "num_key_value_heads": 8, "head_dim": $5, "intermediate_size": $6, "vocab_size": $7,
 "tie_word_embeddings": false, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 1e6, "hidden_act": "silu",
 "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2}
END
}

# whole_base FOLDER RANKS SETTING... - bytes of the weights over all ranks together, with as small an adapter as can be.
whole_base() {
    folder=$1 ranks=$2
    shift 2
    run '[02]' "$atelier" plan "$tiny" --ranks "$ranks" --set "run.folder=$work/plan" --set "data.train=$work/fiches.h5" \
        --set "model.path=$work/$folder" --set parallel.stage=3 --set train.compute=bf16 --set adapter.rank=1 \
        --set adapter.alpha=1 --set 'adapter.targets=[q]' --set 'adapter.layers=[0]' --json "$@"
    expect_output '"parameters"'
    sed -n '/"memory_bytes"/,/}/p' "$log" >"$work/memory.json"
    json_number parameters "$work/memory.json" | awk -v n="$ranks" '{ printf "%.0f", n * $1 }'
}
large mistral-small-24b 5120 40 32 128 32768 131072
large llama-70b 8192 80 64 128 28672 128256
for ranks in 1 4; do
    bytes=$(whole_base mistral-small-24b $ranks --set adapter.base=nf4_double)
    is_at_most "$bytes" 14.5e9 || fail "24 billion parameters in nf4_double take $bytes bytes on $ranks ranks"
    bytes=$(whole_base llama-70b $ranks --set adapter.base=nf4_double)
    is_at_most "$bytes" 40e9 || fail "70 billion parameters in nf4_double take $bytes bytes on $ranks ranks"
done
is_at_most "$(whole_base mistral-small-24b 1)" 45e9 && fail "24 billion parameters in bf16 take less than 45 GB"

# --- what cannot be ---

refused() { # SENTENCE SETTING...
    sentence=$1
    shift
    train '[12]' 2 "$work/refused" "$@"
    expect_output "$sentence"
    [ ! -e "$work/refused/metrics.jsonl" ] || fail "something was written"
}
refused "adapter.base.*q4_k.*compute.*nf4" --set adapter.base=q4_k
refused "'adapter.base' .*adapter.method" --set adapter.method=none --set adapter.rank=null --set adapter.alpha=null \
    --set adapter.base=nf4

say "an adapter is trained beside a base in fewer bits to the losses of the values that are left of it"
