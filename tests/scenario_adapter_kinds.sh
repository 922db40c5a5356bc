#!/bin/sh
# scenario_adapter_kinds.sh - adapters that are more than plain pairs.  A dropout: the same losses on any number of ranks, in any
# micro-batch, recomputed, stopped and gone on with; evaluation leaves nothing out.  Controls: without it.
# Targets by a pattern: the training that the same matrices have by their names.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario adapter_kinds
prepare_sample
train 0 0 "$work/base" --set train.steps=4
base=$work/base/step-000004
sed '/^model:/,/^data:/{/^data:/!d}' "$tiny" >"$work/adapter.yaml"
cat >>"$work/adapter.yaml" <<END

model:
  path: $base

adapter:
  method: lora
  rank: 4
  alpha: 8
END
tiny=$work/adapter.yaml

# difference A B - of the losses of two runs.
difference() {
    losses "$1" >"$work/a.losses" && losses "$2" >"$work/b.losses" && worst_difference "$work/a.losses" "$work/b.losses"
}

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

say "a dropout of what pairs read, targets by a pattern: the same training in every layout"
