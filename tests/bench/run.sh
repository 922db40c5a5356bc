#!/bin/bash
# run.sh - side-by-side timings, each pair in turns so that a machine that is busy is busy for both: a training step
# against transformers + torch (of one shape by tokens/s, of six by processor seconds), one of an adapter against our own step of all weights and against peft, tokenizing against the tokenizers package and others, reading Parquet and CSV against pyarrow, saving a checkpoint against dd with fsync.
# Needs the environment of `make interop` (or BENCH_VENV).  The figures that count are copied into RESULTS.md by hand,
# with machine, date and commit.
#   ROUNDS=3 ONLY="step shapes lora tokenizer parquet csv save" make bench
#   THREADS=1      of each program: on a machine that others use threads wait for each other, and processor seconds count that
#   TYPES=f32      of the adapter's steps; left out: f32 and bf16
set -eEu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
export OUT="${OUT:-build/cpu}"
export PATH="$PWD/$OUT:$PATH"
# shellcheck source=configs/ranks.sh
. configs/ranks.sh
rounds=${ROUNDS:-3}
python=${BENCH_VENV:-.venv-interop}/bin/python
threads=${THREADS:-$(nproc)}
work=build/bench
mkdir -p "$work"
# Two at once would take each other's model away, and time each other.
exec 9>"$work/lock"
flock -n 9 || { echo "another bench is at work in '$work': wait for it, or end it" >&2; exit 1; }
# give_up CODE LINE - what the command that failed wrote into its log would else be looked for in vain.
give_up() {
    local log="$work/prepare.log"
    [ ! "$work/step.log" -nt "$log" ] || log="$work/step.log"
    echo "bench: a command ended with code $1 (line $2); the end of '$log':" >&2
    tail -n 5 "$log" >&2
}
trap 'give_up $? $LINENO' ERR
wanted() { case " ${ONLY:-step shapes lora tokenizer parquet csv save} " in *" $1 "*) ;; *) false ;; esac }
median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
field() { sed -n "s/.*\"$1\": *\([0-9.e+]*\).*/\1/p"; }

echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, $threads threads a program"
echo "date: $(date -u +%Y-%m-%d)   commit: $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
echo "load before: $(cut -d' ' -f1-3 /proc/loadavg)"

# ours TYPE - median tokens/s of a run of 7 steps without the first two.
ours() {
    rm -rf "$work/step"
    atelier train "$here/step.yaml" --set train.compute="$1" --set run.threads="$threads" \
        --set checkpoint.max_file_bytes=2000000000 >"$work/step.log" 2>&1
    grep '"loss".*"grad_norm"' "$work/step/metrics.jsonl" | tail -n +3 | field tokens_per_s | median
}
torch() { "$python" "$here/peer_torch.py" --compile --dtype "$1" --threads "$threads" --steps 5 | field tokens_per_s; }

# step - every round runs all five in turn; a ratio compares runs of the same round.
step() {
    local run
    atelier prepare "$here/step.yaml" 2>"$work/prepare.log"
    rm -f "$work"/speed-*
    for _ in $(seq "$rounds"); do
        ours f32 >>"$work/speed-atelier-f32"
        torch f32 >>"$work/speed-torch-f32"
        ours bf16 >>"$work/speed-atelier-bf16"
        torch bf16 >>"$work/speed-torch-bf16"
        torch autocast >>"$work/speed-torch-autocast"
    done
    echo "training step, SmolLM2-135M shape, batch 1 x 512 tokens, tokens/s, median (each round):"
    for run in "$work"/speed-*; do
        echo "  ${run##*speed-}: $(median <"$run")   ($(tr '\n' ' ' <"$run"))"
    done
    ratio atelier-f32 torch-f32
    ratio atelier-bf16 torch-f32
    ratio atelier-bf16 torch-autocast
    ratio atelier-bf16 torch-bf16
}
ratio() {
    paste "$work/speed-$1" "$work/speed-$2" | awk '{ print $1 / $2 }' >"$work/ratio"
    echo "  $1 / $2: $(median <"$work/ratio")   ($(tr '\n' ' ' <"$work/ratio"))"
}

# shapes - six shapes in two types; a row of its table each.
shapes() { "$python" "$here/shapes.py" --rounds "$rounds" --threads "$threads"; }

# from_model STEPS [ARGUMENT]... - a run that begins with the model of $work/base; its processor seconds to $work/cpu.
from_model() {
    local steps=$1 TIMEFORMAT='%U %S'
    shift
    rm -rf "$work/step"
    { time atelier train "$work/from_model.yaml" --set "model.path=$work/base/step-000001" --set run.threads="$threads" \
        --set train.steps="$steps" --set checkpoint.max_file_bytes=2000000000 "$@" >"$work/step.log" 2>&1; } 2>"$work/cpu"
}

# adapted NAME [ARGUMENT]... - median tokens/s of five steps without the first two, and processor seconds of a step: those of a run of
# five steps less those of two, so that loading and saving are not counted.
adapted() {
    local name=$1 short
    shift
    from_model 2 "$@"
    short=$(awk '{ print $1 + $2 }' "$work/cpu")
    from_model 5 "$@"
    awk -v short="$short" '{ print ($1 + $2 - short) / 3 }' "$work/cpu" >>"$work/lora-cpu-$name"
    grep '"loss".*"grad_norm"' "$work/step/metrics.jsonl" | tail -n +3 | field tokens_per_s | median >>"$work/lora-speed-$name"
}

# peft_step NAME DTYPE - the same of peft; beside our bf16, whose weights are kept in f32, torch's autocast.
peft_step() {
    "$python" "$here/peer_torch.py" --compile --lora 16 --dtype "$2" --threads "$threads" --steps 3 >"$work/peer.json"
    field tokens_per_s <"$work/peer.json" >>"$work/lora-speed-$1"
    field cpu_s_per_step <"$work/peer.json" >>"$work/lora-cpu-$1"
}

# lora - pairs of rank 16 on every matrix of the layers.  The model lies on the disk for all, for an adapter needs one.
lora() {
    local name
    rm -rf "$work/base" # of a bench that did not end
    atelier prepare "$here/step.yaml" 2>"$work/prepare.log"
    atelier train "$here/step.yaml" --set run.folder="$work/base" --set train.steps=1 --set data.sequence_tokens=16 \
        --set run.threads="$threads" --set checkpoint.max_file_bytes=2000000000 >"$work/step.log" 2>&1
    sed '/^model:/,/^$/d' "$here/step.yaml" >"$work/from_model.yaml"
    rm -f "$work"/lora-*
    for _ in $(seq "$rounds"); do
        for name in ${TYPES:-f32 bf16}; do
            adapted "$name" --set adapter.method=lora --set train.compute="$name"
            adapted "$name-all" --set train.compute="$name"
            peft_step "$name-peft" "$([ "$name" = f32 ] && echo f32 || echo autocast)"
        done
    done
    rm -rf "$work/base" "$work/step"
    echo "an adapter's step, SmolLM2-135M shape, rank 16, batch 1 x 512 tokens, median (each round):"
    for name in "$work"/lora-speed-*; do
        name=${name##*speed-}
        echo "  $name: $(median <"$work/lora-speed-$name") tokens/s ($(tr '\n' ' ' <"$work/lora-speed-$name")), processor" \
            "$(median <"$work/lora-cpu-$name") s a step ($(tr '\n' ' ' <"$work/lora-cpu-$name"))"
    done
    for name in ${TYPES:-f32 bf16}; do
        lora_ratio "$name" "$name-all"
        lora_ratio "$name" "$name-peft"
    done
}
lora_ratio() {
    paste "$work/lora-speed-$1" "$work/lora-speed-$2" | awk '{ print $1 / $2 }' >"$work/ratio"
    paste "$work/lora-cpu-$2" "$work/lora-cpu-$1" | awk '{ print $1 / $2 }' >"$work/ratio-cpu"
    echo "  $1 / $2: $(median <"$work/ratio")   ($(tr '\n' ' ' <"$work/ratio")), by processor seconds" \
        "$(median <"$work/ratio-cpu") ($(tr '\n' ' ' <"$work/ratio-cpu"))"
}

tokenizer() {
    local corpus=../shared/corpora/service_public_particuliers.jsonl.zst
    [ -e "$corpus" ] || { echo "tokenizer: skipped, ../shared/corpora is absent"; return; }
    make --no-print-directory "$OUT/tests/bench/bench_tokenizer" >/dev/null
    rm -rf "$work/tokenizers" && mkdir -p "$work/tokenizers"
    tar --zstd -xf ../shared/tokenizers/tokenizers.tar.zst -C "$work/tokenizers"
    "$python" "$here/peer_tokenizers.py" "$OUT/tests/bench/bench_tokenizer" \
        "$work"/tokenizers/llama3/tokenizer.json "$work"/tokenizers/llama2/tokenizer.json \
        --corpus "$corpus" --rounds "$rounds"
}

parquet() {
    local corpus=../shared/corpora/service_public_particuliers.jsonl.zst
    [ -e "$corpus" ] || { echo "parquet: skipped, ../shared/corpora is absent"; return; }
    make --no-print-directory "$OUT/tests/tool_parquet" >/dev/null
    "$python" "$here/peer_parquet.py" "$corpus" "$rounds"
}

csv() {
    local corpus=../shared/corpora/service_public_particuliers.jsonl.zst
    [ -e "$corpus" ] || { echo "csv: skipped, ../shared/corpora is absent"; return; }
    make --no-print-directory "$OUT/tests/tool_records" >/dev/null
    "$python" "$here/peer_csv.py" "$corpus" "$rounds"
}

# save - one checkpoint of the same model (2.2 GB: model and state in f32), as metrics.jsonl reports it, and as much zeros
# by dd with fsync to the same disk.
save() {
    local bytes seconds a b
    : >"$work/a" && : >"$work/b" && : >"$work/ratio"
    atelier prepare "$here/step.yaml" 2>"$work/prepare.log"
    for _ in $(seq "$rounds"); do
        rm -rf "$work/step"
        mpirun -n 2 atelier train "$here/step.yaml" --set train.steps=1 --set train.batch_sequences=2 \
            --set data.sequence_tokens=16 --set parallel.stage=3 >"$work/step.log" 2>&1
        bytes=$(grep '"checkpoint"' "$work/step/metrics.jsonl" | field size_bytes)
        seconds=$(grep '"checkpoint"' "$work/step/metrics.jsonl" | field seconds)
        a=$(awk "BEGIN { print $bytes / $seconds / 1e6 }")
        rm -rf "$work/step" && sync
        b=$(LC_ALL=C dd if=/dev/zero of="$work/zeros" bs=8M count=$((bytes / 8388608)) conv=fsync 2>&1 |
            sed -n 's/.* bytes .* copied, \([0-9.e+]*\) s.*/\1/p')
        b=$(awk "BEGIN { print $bytes / $b / 1e6 }")
        rm -f "$work/zeros"
        echo "$a" >>"$work/a" && echo "$b" >>"$work/b"
        awk "BEGIN { print $a / $b }" >>"$work/ratio"
    done
    echo "save, 2 ranks, $((bytes / 1000000)) MB with checksums: $(median <"$work/a") MB/s, dd with fsync" \
        "$(median <"$work/b"), ratio $(median <"$work/ratio")   ($(tr '\n' ' ' <"$work/ratio"))"
}

for part in step shapes lora tokenizer parquet csv save; do
    if wanted $part; then $part; fi
done
echo "load after: $(cut -d' ' -f1-3 /proc/loadavg)"
