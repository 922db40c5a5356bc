#!/bin/sh
# scenario_adapter_kinds.sh - adapters that are more than plain pairs.  A dropout: the same losses on any number of ranks, in any
# micro-batch, recomputed, stopped and gone on with; evaluation leaves nothing out.  Controls: without it.
# Targets by a pattern: the training that the same matrices have by their names.  Norms and embedding trained whole, and
# DoRA: in every layout, merged, exported or refused, gone on with.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario adapter_kinds
prepare_sample
train 0 0 "$work/base" --set train.steps=4
base=$work/base/step-000004
adapt "$base"

is_same() { # A B
    is_at_most "$(difference "$1" "$2")" 1e-5 || fail "'$1' and '$2' have other losses: $(difference "$1" "$2")"
}

is_other() { # A B
    is_at_most "$(difference "$1" "$2")" 1e-5 && fail "'$1' and '$2' have the same losses"
    return 0
}

refused() { # SENTENCE SETTING...
    sentence=$1
    shift
    train '[12]' 0 "$work/refused" "$@"
    expect_output "$sentence"
    [ ! -e "$work/refused/metrics.jsonl" ] || fail "something was written"
}

# --- dropout ---

train 0 0 "$work/dropout" --set adapter.dropout=0.25
for layout in 2:1:1 2:3:2 4:2:1; do
    IFS=: read -r ranks stage micro <<END
$layout
END
    train 0 "$ranks" "$work/dropout-$layout" --set adapter.dropout=0.25 --set "parallel.stage=$stage" --set "train.micro_sequences=$micro"
    is_same "$work/dropout" "$work/dropout-$layout"
done
train 0 0 "$work/dropout-again" --set adapter.dropout=0.25 --set train.recompute=layer
is_same "$work/dropout" "$work/dropout-again"
train 75 2 "$work/dropout-part" --set adapter.dropout=0.25 --set train.stop_after_s=0.001
train 0 1 "$work/dropout-part" --set adapter.dropout=0.25
is_same "$work/dropout" "$work/dropout-part"
train 0 0 "$work/whole"
is_other "$work/dropout" "$work/whole"
train 0 0 "$work/zero" --set adapter.dropout=0
expect "the losses of a dropout of 0" "$(losses "$work/whole")" "$(losses "$work/zero")"
grep -q '"lora_dropout": 0.25' "$work/dropout/step-000010/adapter_config.json" || fail "adapter_config.json does not say lora_dropout"
train 0 0 "$work/onward" --set "adapter.path=$work/dropout" --set adapter.rank=null --set adapter.alpha=null --set train.steps=1
expect_output "warning: adapter.path '.*' says lora_dropout 0.25, and the run file says no adapter.dropout"
grep -q '"lora_dropout": 0.25' "$work/onward/step-000001/adapter_config.json" || fail "the dropout of adapter.path is not what is trained with"
onward() { train 0 0 "$work/$1" --set "adapter.path=$work/dropout" --set adapter.rank=null --set adapter.alpha=null --set train.steps=1 --set "adapter.dropout=$2"; }
onward onward-said 0.25
if grep -q "lora_dropout" "$log"; then
    fail "a dropout that the run file says is warned of"
fi
is_same "$work/onward" "$work/onward-said"
onward onward-without 0
expect_output "warning: adapter.path '.*' says lora_dropout 0.25, and adapter.dropout is 0, with which it is trained now"
is_other "$work/onward" "$work/onward-without"
refused "error: '.*dropout/step-000010' is an adapter .*adapter.path, and 'atelier export --to hf' merges" --set "model.path=$work/dropout"
refused "adapter.dropout.*1.5" --set adapter.dropout=1.5
refused "'adapter.dropout' .*adapter.method" --set adapter.method=none --set adapter.rank=null --set adapter.alpha=null \
    --set adapter.dropout=0.1

# --- targets by a pattern ---

pattern="adapter.targets='.*layers\\.1\\..*\\.(q|v)_proj'"
train 0 2 "$work/pattern" --set "$pattern" --set train.steps=3
train 0 2 "$work/pattern" --set "$pattern"
train 0 0 "$work/named" --set 'adapter.targets=[q, v]' --set 'adapter.layers=[1]'
is_same "$work/pattern" "$work/named"
is_other "$work/pattern" "$work/whole"
refused "matches the whole name of no matrix .*there are model.layers.0.self_attn.q_proj, .* to layer 1" \
    --set "adapter.targets='layers.1.self_attn.q_proj'"
refused "adapter.layers would have no effect" --set "$pattern" --set 'adapter.layers=[1]'

# --- norms and embedding trained whole ---

loss_of() { # FOLDER ARGUMENT... - as eval says it
    run 0 "$atelier" eval "$@" --data "$work/fiches-valid.h5" --sequence-tokens 64 --sequences 8
    awk '$1 == "all" { print $2 }' "$log"
}

whole='adapter.train=[norms, embedding]'
train 0 0 "$work/modules" --set "$whole"
for layout in 2:1 2:3 4:2; do
    train 0 "${layout%:*}" "$work/modules-$layout" --set "$whole" --set "parallel.stage=${layout#*:}"
    is_same "$work/modules" "$work/modules-$layout"
done
expect_output "norms, embedding trained whole .*vLLM and llama.cpp take no such adapter: export it merged"
is_other "$work/modules" "$work/whole"
train 75 2 "$work/modules-part" --set "$whole" --set train.stop_after_s=0.001
train 0 1 "$work/modules-part" --set "$whole"
is_same "$work/modules" "$work/modules-part"
step=$work/modules/step-000010
trained=$(loss_of "$step")
[ "$trained" != "$(loss_of "$base")" ] || fail "the adapter has the loss of its base"
run 0 "$atelier" export "$step" --to hf --out "$work/merged"
is_at_most "$(awk -v a="$(loss_of "$work/merged")" -v b="$trained" 'BEGIN { print (a > b ? a - b : b - a) / b }')" 1e-6 ||
    fail "the merged model has another loss"
run 0 "$atelier" export "$step" --to gguf --out "$work/merged.gguf"
run 0 "$atelier" export "$step" --to peft --out "$work/peft"
expect_output "vLLM refuses"
expect "the loss of the exported adapter" "$trained" "$(loss_of "$work/peft")"
run 1 "$atelier" export "$step" --to gguf-lora --out "$work/never.gguf"
expect_output "a GGUF adapter holds pairs alone.*export it merged, --to gguf"
grep -q "Trained whole beside the pairs: norms, embedding" "$step/README.md" || fail "the card does not say what was trained whole"
grep -q "vllm serve" "$step/README.md" && fail "the card says that vLLM serves it"
train 0 0 "$work/modules-again" --set "adapter.path=$step" --set adapter.rank=null --set adapter.alpha=null --set train.steps=2
first=$(losses "$work/modules-again" | head -n 1)
[ "$first" != "$(losses "$work/modules" | head -n 1)" ] || fail "the training did not begin with the adapter"
refused "adapter.train would have no effect" --set "adapter.path=$step" --set adapter.rank=null --set adapter.alpha=null --set "$whole"
refused "the head of this model is its embedding: say embedding" --set 'adapter.train=[head]'
refused "adapter.train: 'router' is not one of norms, embedding, head" --set 'adapter.train=[router]'

# --- DoRA ---

train 0 0 "$work/dora" --set adapter.method=dora
for layout in 2:1 2:3 4:2; do
    train 0 "${layout%:*}" "$work/dora-$layout" --set adapter.method=dora --set "parallel.stage=${layout#*:}"
    is_same "$work/dora" "$work/dora-$layout"
done
expect_output "DoRA: vLLM and llama.cpp take no such adapter: export it merged"
train 0 0 "$work/dora-again" --set adapter.method=dora --set train.recompute=layer
is_same "$work/dora" "$work/dora-again"
is_other "$work/dora" "$work/whole"
first=$(losses "$work/dora" | head -n 1 | cut -d' ' -f2)
is_at_most "$(losses "$work/whole" | awk -v a="$first" 'NR == 1 { print ($2 > a ? $2 - a : a - $2) / a }')" 1e-6 ||
    fail "DoRA does not begin as its base"
train 75 2 "$work/dora-part" --set adapter.method=dora --set train.stop_after_s=0.001
train 0 1 "$work/dora-part" --set adapter.method=dora
is_same "$work/dora" "$work/dora-part"
step=$work/dora/step-000010
trained=$(loss_of "$step")
[ "$trained" != "$(loss_of "$base")" ] || fail "the adapter has the loss of its base"
told=$(sed -n 's/^{"event": "validation", "step": 10, "loss": \([0-9.]*\),.*/\1/p' "$work/dora/metrics.jsonl")
is_at_most "$(awk -v a="$told" -v b="$trained" 'BEGIN { print (a > b ? a - b : b - a) / b }')" 1e-6 ||
    fail "eval says $trained, the training said $told"
run 0 "$atelier" export "$step" --to hf --out "$work/dora-merged"
is_at_most "$(awk -v a="$(loss_of "$work/dora-merged")" -v b="$trained" 'BEGIN { print (a > b ? a - b : b - a) / b }')" 1e-6 ||
    fail "the merged model has another loss"
run 0 "$atelier" export "$step" --to gguf --out "$work/dora.gguf"
for form in peft gguf-lora; do
    run 1 "$atelier" export "$step" --to $form --out "$work/never.gguf"
    expect_output "is DoRA, which vLLM and llama.cpp do not take: export it merged, --to hf or --to gguf"
done
grep -q "vllm serve" "$step/README.md" && fail "the card says that vLLM serves it"
run 0 "$atelier" inspect "$step"
expect_output "^method +dora"
refused "adapter.dropout beside adapter.method dora" --set adapter.method=dora --set adapter.dropout=0.1
refused "adapter.base nf4 beside adapter.method dora" --set adapter.method=dora --set adapter.base=nf4
refused "adapter that the training begins with is dora" --set "adapter.path=$step" --set adapter.rank=null --set adapter.alpha=null

say "a dropout, targets by a pattern, norms and embedding trained whole, DoRA: the same training in every layout"
