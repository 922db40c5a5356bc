#!/bin/sh
# scenario_gemm_choices.sh - run.gemm_choices on the CUDA path (the host stand-ins of CUDA, cuBLASLt and NCCL): choices
# are measured before the first step and kept; the same file gives the same bits, on every rank, after a resume too;
# another file gives others; damaged files and folders that cannot be written to end the run before it begins.
# The stand-in's algorithms differ in how they cut the sums, so that a choice shows in the last bits, and SIMT_PRODUCTS
# tells which one ran.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario gemm_choices
prepare_sample
on_cpu=$atelier
atelier=${SIMT_OUT:-build/simt}/atelier
[ -x "$atelier" ] || skip "no '$atelier': the CUDA path is not built for this host (make simt)"
choices=$work/fresh.choices # the file of most runs

# go WANTED_CODE NUM_RANKS NAME [ARGUMENT...] - two short steps in $work/NAME.
go() {
    wanted_code=$1 ranks=$2 name=$3
    shift 3
    train "$wanted_code" "$ranks" "$work/$name" --set train.steps=2 --set data.sequence_tokens=16 \
        --set train.batch_sequences=4 --set train.micro_sequences=1 --set valid.sequences=2 "$@"
}

# weights NAME - of the last checkpoint, to the bit.
weights() {
    cksum <"$work/$1/step-000002/state/master.safetensors"
}

# expect_same WHAT A B - two runs: losses and weights to the bit.
expect_same() {
    expect "$1: losses" "$(losses "$work/$2")" "$(losses "$work/$3")"
    expect "$1: weights" "$(weights "$2")" "$(weights "$3")"
}

expect_other() { # WHAT A B
    if [ "$(weights "$2")" = "$(weights "$3")" ]; then
        fail "$1: the weights are the same, the comparison sees nothing"
    fi
}

# choose FROM TO ID PARTS - a file with this one algorithm for every product.
choose() {
    awk -v id="$3" -v parts="$4" 'NR > 3 { $15 = id; $17 = parts } { print }' "$1" >"$2"
}

# last_algorithms REPORT - of each shape, in order: what the steps computed with.
last_algorithms() {
    awk -F: '{ last[$1] = $2 } END { for (shape in last) print shape ":" last[shape] }' "$1" | sort
}

# of_shapes REPORT OTHER - last_algorithms of REPORT, of shapes that are in OTHER too: the first rank also measures products
# beside transfers that no step has.
of_shapes() {
    last_algorithms "$1" >"$work/these"
    awk -F: 'NR == FNR { shapes[$1] = 1; next } $1 in shapes' "$2" "$work/these"
}

# --- one rank ---

go 0 0 none --set run.gemm_choices=none
go 0 0 one_by_one --set run.gemm_choices=none --set run.graphs=false # micro-batches as graphs, and not
expect_same "with graphs and without" none one_by_one
go 0 0 fresh --set "run.gemm_choices=$choices"
expect_output '^matrix products: [1-9][0-9]* measured in [0-9.]* s and added to '
num_measured=$(sed -n 's/^matrix products: \([0-9]*\) measured.*/\1/p' "$log")
expect "lines of the file" "$((num_measured + 3))" "$(wc -l <"$choices" | tr -d ' ')"
cp "$choices" "$work/choices.kept"
SIMT_PRODUCTS=$work/report go 0 0 again --set "run.gemm_choices=$choices"
expect_output '^matrix products: nothing to measure'
cmp -s "$choices" "$work/choices.kept" || fail "a run that measured nothing wrote the file"
expect_same "a second run with the same file" fresh again
expect "shapes that the run computes and the file holds" "$num_measured" \
    "$(last_algorithms "$work"/report.* | wc -l | tr -d ' ')"
say "$num_measured products measured; a second run with their file: the same bits"

# The rehearsal leaves no trace: with cuBLASLt's first proposals in the file a run is what it is without one.
choose "$choices" "$work/first.choices" 0 1
go 0 0 first --set "run.gemm_choices=$work/first.choices"
expect_same "cuBLASLt's first proposals from a file" none first

# The control: other algorithms are other bits, and those of the file are what runs.
choose "$choices" "$work/other.choices" 2 4
rm -f "$work"/report.*
SIMT_PRODUCTS=$work/report go 0 0 other --set "run.gemm_choices=$work/other.choices"
expect_other "another algorithm in the file" none other
expect "algorithms of a file that says 2" 2 "$(last_algorithms "$work"/report.* | sed 's/.*: //' | sort -u)"
say "first proposals from a file: as without; another algorithm: other bits"

# --- a resumed run, whose file is gone ---

cp "$work/other.choices" "$work/lost.choices"
go 0 0 resumed --set "run.gemm_choices=$work/lost.choices" --set train.steps=1
rm "$work/lost.choices"
go 0 0 resumed --set "run.gemm_choices=$work/lost.choices"
expect_output "resumed from .*step-000001"
expect_output '^matrix products: nothing to measure'
expect_same "a resumed run whose file was lost" other resumed
cmp -s "$work/lost.choices" "$work/other.choices" || fail "the resumed run did not write its own choices into the lost file"
say "a resumed run goes on with the choices it began with"

# --- a file for each kind of GPU, in the cache folder: what a run does that says nothing ---

[ ! -e "$XDG_CACHE_HOME" ] || fail "a run that names a file, or none, wrote to the cache folder"
go 0 0 auto
cached=$(echo "$XDG_CACHE_HOME"/atelier/gemm-*H100*-cublaslt-130100)
[ -f "$cached" ] || fail "there is no file '$cached'"
expect_output "^matrix products: $num_measured measured in [0-9.]* s and added to '$cached'"
cmp -s "$cached" "$work/auto/gemm_choices" || fail "the run's own choices are not those of the cache"
go 0 0 auto.again
expect_output '^matrix products: nothing to measure'
expect_same "a second run with the cache" auto auto.again
SIMT_ARCH=80 go 0 0 auto.a100
expect "files for two kinds of GPU" 2 "$(find "$XDG_CACHE_HOME/atelier" -type f | wc -l | tr -d ' ')"

# A resumed run takes its own, whatever the cache says by now; one that began without goes on without.
choose "$cached" "$cached.other" 2 4 && mv "$cached.other" "$cached"
go 0 0 auto.whole
expect_other "other choices in the cache" auto auto.whole
cp "$work/choices.kept" "$cached"
go 0 0 auto.resumed --set train.steps=1
choose "$cached" "$cached.other" 2 4 && mv "$cached.other" "$cached"
cp "$work/auto.resumed/gemm_choices" "$work/own.choices"
go 0 0 auto.resumed
go 0 0 own --set "run.gemm_choices=$work/own.choices"
expect_same "a resumed run whose cache has changed" own auto.resumed
go 0 0 late --set train.steps=1 --set run.gemm_choices=none
go 0 0 late
expect_output "^matrix products: this run began with cuBLASLt's first proposals, and goes on with them"
expect_same "a run that began without choices" none late

# What nobody named ends no run.
sed -i '5s/ [0-9]* / x /' "$cached"
go 0 0 auto.damaged
expect_output "^matrix products: choices are kept in the run's folder alone: '.*' line 5 is damaged"
[ -s "$work/auto.damaged/gemm_choices" ] || fail "a run beside a damaged cache keeps no choices"
XDG_CACHE_HOME=/proc/none go 0 0 auto.unwritable
expect_output "^matrix products: choices are kept in the run's folder alone: "
XDG_CACHE_HOME=relative HOME='' go 0 0 auto.nowhere
expect_output "^matrix products: choices are kept in the run's folder alone: neither XDG_CACHE_HOME nor HOME says where"
[ ! -e relative ] || fail "a relative XDG_CACHE_HOME was used"
say "auto: a file for each kind of GPU in the cache; a resumed run takes its own choices, or none if it began without"

# --- two ranks ---

rm -f "$work"/report.*
SIMT_PRODUCTS=$work/report go 0 2 pair --set "run.gemm_choices=$work/pair.choices" --set parallel.stage=3
expect_output '^matrix products: [1-9][0-9]* measured'
set -- "$work"/report.*
expect "ranks that report" 2 $#
[ "$(wc -l <"$1")" -ge "$(wc -l <"$2")" ] || set -- "$2" "$1"
expect "algorithms of the two ranks" "$(of_shapes "$1" "$2")" "$(last_algorithms "$2")"
awk -F: '{ print $1 }' "$2" | grep -q ' 1[02][08]$' || fail "no product of the steps runs beside a transfer"
awk -F: '{ print $1 }' "$2" | grep -q ' 0$' || fail "every product of the steps runs beside a transfer"
expect "multiprocessors that products beside no transfer, one and two are chosen for" "0 108 120" \
    "$(awk 'NR > 3 { print $9 }' "$work/pair.choices" | sort -un | xargs)"
go 0 2 pair.again --set "run.gemm_choices=$work/pair.choices" --set parallel.stage=3
expect_output '^matrix products: nothing to measure'
expect_same "two ranks with the same file" pair pair.again
go 0 2 pair.none --set parallel.stage=3 --set run.gemm_choices=none
choose "$work/pair.choices" "$work/pair.first.choices" 0 1
go 0 2 pair.first --set "run.gemm_choices=$work/pair.first.choices" --set parallel.stage=3
expect_same "two ranks, cuBLASLt's first proposals from a file" pair.none pair.first
choose "$work/pair.choices" "$work/pair.other.choices" 2 4
rm -f "$work"/report.*
SIMT_PRODUCTS=$work/report go 0 2 pair.other --set "run.gemm_choices=$work/pair.other.choices" --set parallel.stage=3
expect_other "two ranks, another algorithm in the file" pair pair.other
for report in "$work"/report.*; do
    expect "a rank's algorithms where the file says 2" 2 "$(last_algorithms "$report" | sed 's/.*: //' | sort -u)"
done
# A graph must not hold what products were chosen for when it was made: other transfers may run beside them.
awk 'NR > 3 && $9 { $15 = 2; $17 = 4 } NR > 3 && !$9 { $15 = 0; $17 = 1 } { print }' "$work/pair.choices" >"$work/pair.mixed.choices"
go 0 2 pair.mixed --set "run.gemm_choices=$work/pair.mixed.choices" --set parallel.stage=3
go 0 2 pair.plain --set "run.gemm_choices=$work/pair.mixed.choices" --set parallel.stage=3 --set run.graphs=false
expect_same "two ranks, algorithms by what runs beside: with graphs and without" pair.mixed pair.plain
expect_other "two ranks, an algorithm for products alone that the others do not have" pair.mixed pair.other
expect_other "two ranks, an algorithm for products beside transfers that the others do not have" pair.mixed pair.first
# Products that nothing runs beside are chosen for all multiprocessors.
go 0 2 whole --set "run.gemm_choices=$work/whole.choices" --set parallel.stage=1
expect "multiprocessors that products alone are chosen for" 0 \
    "$(awk 'NR > 3 { print $9 }' "$work/whole.choices" | sort -u)"
say "two ranks: the choices of the first are those of both"

# --- another GPU, damage, folders ---

sed '2s/.*/gpu NVIDIA A100/' "$choices" >"$work/foreign.choices"
go 0 0 foreign --set "run.gemm_choices=$work/foreign.choices"
expect_output "^matrix products: '.*foreign.choices' holds no choice for this kind of GPU"
expect_output "^matrix products: $num_measured measured"
expect "the GPU of the replaced file" "$(sed -n 2p "$choices")" "$(sed -n 2p "$work/foreign.choices")"

sed '5s/ [0-9]* / x /' "$choices" >"$work/damaged.choices"
cp "$work/damaged.choices" "$work/damaged.choices.before"
for ranks in 0 2; do
    go 2 "$ranks" "damaged-$ranks" --set "run.gemm_choices=$work/damaged.choices"
    expect_output "^error: run.gemm_choices: '.*damaged.choices' line 5 is damaged: delete the file"
    expect "steps with a damaged file" "" "$(losses "$work/damaged-$ranks")"
done
cmp -s "$work/damaged.choices" "$work/damaged.choices.before" || fail "a damaged file was changed"
echo "steps: 5" >"$work/no-choices.choices"
go 2 0 no-choices --set "run.gemm_choices=$work/no-choices.choices"
expect_output "^error: run.gemm_choices: '.*no-choices.choices' is not a file of choices.*delete it, or name another"
for path in "$work/no/such/folder/choices" "$work/damaged.choices/choices" "$work"; do
    go 2 0 unwritable --set "run.gemm_choices=$path"
    expect_output "^error: run.gemm_choices: cannot (write|open|read) '$path'"
    expect "steps without a file to keep choices in" "" "$(losses "$work/unwritable")"
done
say "damaged files, other files and folders that cannot be written to are refused before the first step"

# --- no GPU ---

atelier=$on_cpu
go 0 0 cpu --set "run.gemm_choices=$work/on_cpu"
expect_output '^run.gemm_choices has no effect: this run computes on CPUs'
[ ! -e "$work/on_cpu" ] || fail "a run without a GPU wrote a file of choices"
go 0 0 cpu.damaged --set "run.gemm_choices=$work/damaged.choices"
cmp -s "$work/damaged.choices" "$work/damaged.choices.before" || fail "a run without a GPU touched the file"
