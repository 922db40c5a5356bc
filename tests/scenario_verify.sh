#!/bin/sh
# scenario_verify.sh - atelier verify: steps of a reproducible run, trained again on other numbers of ranks from a checkpoint and
# from the beginning, have the lines of its metrics.jsonl, and in the end the weights and states of its checkpoint, or the loss of the
# step after them.  They have not, and that is said by step and by what, with other data, another seed, other weights in the checkpoint
# at the beginning or in the one at the end, another learning rate or number of tokens, and one changed or missing line.  The chain is
# what sha256sum makes of its definition, that of older runs too.  Nothing of the run is changed, and nothing is left beside it.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario verify
prepare_sample
reseal=${OUT:-build/cpu}/tests/tool_reseal

# layout RANKS FOLDER [ARGUMENT...]
layout() {
    ranks=$1 folder=$work/$2
    shift 2
    train 0 "$ranks" "$folder" --set train.reproducible=layout --set train.steps=8 --set checkpoint.every_steps=3 \
        --set train.batch_sequences=7 --set train.micro_sequences=1 --set schedule.kind=cosine "$@"
}

# verify WANTED_CODE RANKS FOLDER STEPS [ARGUMENT...]
verify() {
    wanted_code=$1 ranks=$2 folder=$work/$3 steps=$4
    shift 4
    run "$wanted_code" on_ranks "$ranks" "$atelier" verify "$folder" --steps "$steps" "$@"
    [ ! -e "$folder.verify" ] || fail "the folder of the replay was left there"
}

layout 2 run --set parallel.stage=3
before=$(cd "$work/run" && find . -type f -exec sha256sum {} + | sort)

verify 0 3 run 5..6
expect_output "verified: steps 5 to 6 of .*, trained once more on 3 ranks"
if grep -q "^whole run" "$log"; then
    fail "what a replay took is told as what the run took"
fi
manifest() {
    sha256sum <"$work/run/step-00000$1/manifest.json" | cut -d' ' -f1
}
expect_output "began with '.*/run/step-000003': id [0-9a-f]{16}, SHA-256 of its manifest.json $(manifest 3)"
expect_output "those of '.*/run/step-000006': id [0-9a-f]{16}, SHA-256 of its manifest.json $(manifest 6)"
verify 0 1 run 1..2
expect_output "began with the first step, and a new model by run.seed 7"
verify 0 4 run 4..8 --set parallel.replicas=2 --set parallel.stage=2
expect_output "those of '.*/run/step-000008'"
verify 0 1 run 4..5
expect_output "no checkpoint of step 5: the loss of step 6, trained on, is the same"
expect "the run after it was verified" "$before" "$(cd "$work/run" && find . -type f -exec sha256sum {} + | sort)"

# The chain, by its definition, from the numbers as metrics.jsonl writes them.
link=0000000000000000000000000000000000000000000000000000000000000000
sed -n 's/^{"step": \([0-9]*\), "loss": \([^,]*\), "grad_norm": \([^,]*\), "learning_rate": \([^,]*\), "tokens": \([0-9]*\), "target_tokens": \([0-9]*\),.*"data": "\([0-9a-f]*\)", "chain": "\([0-9a-f]*\)".*/\1 \2 \3 \7 \4 \5 \6 \8/p' \
    "$work/run/metrics.jsonl" >"$work/links"
expect "steps with a link" 8 "$(wc -l <"$work/links")"
older=$link
while read -r step loss norm data rate tokens targets wanted; do
    link=$(printf '%s %s %s %s %s %s %s %s' "$link" "$step" "$loss" "$norm" "$data" "$rate" "$tokens" "$targets" | sha256sum | cut -d' ' -f1)
    older=$(printf '%s %s %s %s %s' "$older" "$step" "$loss" "$norm" "$data" | sha256sum | cut -d' ' -f1)
    expect "link after step $step" "$wanted" "$link"
    say "s/$link/$older/" >>"$work/to-older"
done <"$work/links"
verify 0 1 run 7..8
expect_output "chain after step 8: $link"
say "verified on 3, 1 and 4 ranks; the chain is that of its definition"

# changed STEP WHAT [ARGUMENT...] - of a copy: not verified from that step on, because of that.
changed() {
    step=$1 what=$2
    shift 2
    verify 1 2 copy 4..6 "$@"
    expect_output "NOT verified: .*: step $step: $what"
}
# copy - of the run, anew.
copy() {
    rm -rf "$work/copy"
    cp -r "$work/run" "$work/copy"
}
copy
changed 4 "other data" --set run.seed=8
sed 's/passeport/permis/g' data/sample/fiches.jsonl >"$work/other.jsonl"
cmp -s data/sample/fiches.jsonl "$work/other.jsonl" && fail "the other data are the same"
run 0 "$atelier" prepare "$tiny" --set "prepare.output=$work/other.h5" --set "prepare.sources=[{path: $work/other.jsonl, name: fiches, licence: Apache-2.0}]"
changed 4 "other data" --set "data.train=$work/other.h5"
layout 1 rate --set optimizer.learning_rate=2e-3
rm -rf "$work/copy/step-000003"
cp -r "$work/rate/step-000003" "$work/copy/step-000003"
changed 4 "another loss"
copy
sed -i '/^{"step": 5,/s/"loss": \([0-9]*\.[0-9][0-9][0-9][0-9][0-9][0-9]\)[0-9]*,/"loss": \1,/' "$work/copy/metrics.jsonl"
changed 5 "another loss"
copy
sed -i '/^{"step": 5,/s/"learning_rate": [^,]*,/"learning_rate": 0.001,/' "$work/copy/metrics.jsonl"
changed 5 "another learning rate: the record has 0.001, the replay 0.000"
copy
sed -i '/^{"step": 5,/s/"target_tokens": [0-9]*,/"target_tokens": 9,/' "$work/copy/metrics.jsonl"
changed 5 "another number of tokens: the record has [0-9]+, of which 9 are learnt"
copy
sed -i '/^{"step": 6,/s/"chain": "...../"chain": "00000/' "$work/copy/metrics.jsonl"
changed 6 "another chain"
copy
sed -i '/^{"step": 5,/d' "$work/copy/metrics.jsonl"
changed 5 "metrics.jsonl has no line of it"
copy
printf 'x' | dd of="$work/copy/step-000003/state/master.safetensors" bs=1 seek=20000 conv=notrunc 2>/dev/null
verify 2 1 copy 4..6
# What step 6 made of the weights: a value of the checkpoint's that is another one, in a file that passes for whole.
for file in state/master.safetensors state/adam_v.safetensors model.safetensors; do
    copy
    printf 'x' | dd of="$work/copy/step-000006/$file" bs=1 seek=20001 conv=notrunc 2>/dev/null
    [ "$file" != state/master.safetensors ] || changed 6 "another state than the checkpoint's: .*master.safetensors"
    "$reseal" "$work/copy/step-000006"
    changed 6 "another state than the checkpoint's: .*value [0-9]+ of '.*' is .* there and .* here"
done
# A checkpoint with another link is not taken for none.
copy
printf 'x' | dd of="$work/copy/step-000006/model.safetensors" bs=1 seek=20001 conv=notrunc 2>/dev/null
sed -i 's/"chain": "...../"chain": "00000/' "$work/copy/step-000006/state/training.json"
"$reseal" "$work/copy/step-000006"
changed 6 ".*'.*step-000006' has another link of the chain than metrics.jsonl has"
copy # without a checkpoint of step 6 its loss shows what step 5 made of them
sed -i '/^{"step": 6,/s/"loss": \([0-9]*\.[0-9][0-9][0-9][0-9][0-9][0-9]\)[0-9]*,/"loss": \1,/' "$work/copy/metrics.jsonl"
verify 1 1 copy 4..5
expect_output "NOT verified: .*: step 6: another loss"
say "not verified: another seed, other data, other weights before and after, a changed and a missing line"

# What an older program kept: another usual value of a key that nothing reads.
copy
sed -i 's/fp8_format: e4m3/fp8_format: hybrid/' "$work"/copy/step-*/state/training.json
grep -q 'fp8_format: hybrid' "$work/copy/step-000003/state/training.json" || fail "the kept settings have no key that nothing reads"
for folder in "$work"/copy/step-*; do "$reseal" "$folder"; done
verify 0 1 copy 4..6

# A run of an older program, whose links have neither rate nor numbers of tokens; such a run goes on with such links.
copy
sed -i -f "$work/to-older" "$work/copy/metrics.jsonl" "$work"/copy/step-*/state/training.json
sed -i 's/"chain_format": 2/"chain_format": 1/' "$work"/copy/step-*/state/training.json
for folder in "$work"/copy/step-*; do "$reseal" "$folder"; done
verify 0 2 copy 1..6
expect_output "chain after step 6: $(grep '^{"step": 6,' "$work/copy/metrics.jsonl" | sed 's/.*"chain": "\([0-9a-f]*\)".*/\1/')"
expect_output "those of '.*/copy/step-000006'"
rm -rf "$work/copy/step-000008"
echo step-000006 >"$work/copy/latest"
layout 2 copy --set parallel.stage=3
expect "the last link of an older run that went on" "$older" "$(grep '^{"step": 8,' "$work/copy/metrics.jsonl" | tail -n 1 | sed 's/.*"chain": "\([0-9a-f]*\)".*/\1/')"

# A number of replicas that does not divide the ranks of a replay; set anew it is not touched.
layout 2 replicas --set parallel.replicas=2 --set parallel.stage=1
expect "the chain with two replicas" "$link" "$(grep '^{"step": 8,' "$work/replicas/metrics.jsonl" | sed 's/.*"chain": "\([0-9a-f]*\)".*/\1/')"
verify 0 3 replicas 4..6
expect_output "parallel.replicas is 1 here, and was 2"
verify 2 1 replicas 4..6 --set parallel.replicas=2

# A branch begins with what it branched from.
train 0 1 "$work/branch" --set train.reproducible=layout --set train.steps=8 --set checkpoint.every_steps=3 --set train.batch_sequences=7 \
    --set train.micro_sequences=1 --set schedule.kind=cosine --set "checkpoint.from=$work/run@3" --set optimizer.learning_rate=2e-3
verify 0 2 branch 4..5
expect_output "began with '.*/run@3' \\(checkpoint.from\\)"

# Of an adapter, the file that others load is compared, too.
whole=$tiny
adapt "$work/run/step-000008"
layout 1 adapter
tiny=$whole
verify 0 2 adapter 7..8
printf 'x' | dd of="$work/adapter/step-000008/adapter_model.safetensors" bs=1 seek=5001 conv=notrunc 2>/dev/null
"$reseal" "$work/adapter/step-000008"
verify 1 2 adapter 7..8
expect_output "the adapter in '.*/adapter/step-000008': value [0-9]+ of"

# A signal ends a replay, too.
"$atelier" verify "$work/run" --steps 1..8 >"$log" 2>&1 &
pid=$!
while [ ! -e "$work/run.verify" ] && kill -0 "$pid" 2>/dev/null; do :; done
kill -s TERM "$pid"
code=0
wait "$pid" || code=$?
expect "the code of a stopped replay" 75 "$code"
expect_output "not verified: stopped by a signal"
[ ! -e "$work/run.verify" ] || fail "the folder of a stopped replay was left there"

train 0 1 "$work/plain" --set train.steps=2
verify 2 1 plain 1..2
expect_output "without train.reproducible: layout"
verify 2 1 run 5..9
expect_output "step 9 is beyond the run's last one, 8"
for steps in 0..2 5..4 x 1..2x; do
    run 2 "$atelier" verify "$work/run" --steps "$steps"
    expect_output "expected A..B"
done
mkdir "$work/run.verify"
run 2 "$atelier" verify "$work/run" --steps 5..6
expect_output "is there already"
rmdir "$work/run.verify" || fail "a folder of somebody else was touched"
verify 2 1 nothing 1..2
run 2 "$atelier" verify "$work/run" --steps 5..6 --work ""
expect_output "its folder has no name"
say "refused: a run that is not reproducible, steps that are none, a folder that is there"
