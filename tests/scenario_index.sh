#!/bin/sh
# scenario_index.sh - which documents a step reads, and which steps a document: what `inspect` computes is what the ranks of real
# trainings took from the token files, byte range by byte range, recorded by a library that is preloaded into them.  One rank and
# two, two files with weights, both packings, epochs, a restart on another number of ranks, a new line from a checkpoint.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario index
cc -shared -fPIC -D_GNU_SOURCE -o "$work/record_reads.so" tests/scenario/record_reads.c -ldl 2>"$log" ||
    skip "no C compiler for a library that records reads"
prepare_sample
run 0 "$atelier" prepare "$tiny" --set "prepare.output=$work/second.h5" --set prepare.valid_every=0 \
    --set "prepare.sources=[{path: data/sample/fiches-validation.jsonl, name: second}]"
cat >"$work/two.yaml" <<END
$(sed '/^data:/,/^$/d; s/batch_sequences: 8/batch_sequences: 16/' "$tiny")

data:
  sequence_tokens: 64
  train:
    - path: $work/fiches.h5
      weight: 3
    - path: $work/second.h5
      weight: 1
END

# record WANTED_CODE NUM_RANKS FOLDER [ARGUMENT...] - a training whose reads are in FOLDER.reads.RANK.
record() {
    wanted_code=$1 num_started=$2 to=$3
    shift 3
    rm -f "$to".reads.*
    run "$wanted_code" on_ranks "$num_started" env "LD_PRELOAD=$PWD/$work/record_reads.so" "RECORD_READS=$PWD/$to.reads" \
        "$atelier" train "$work/two.yaml" --set "run.folder=$to" "$@"
}

# rows FOLDER FIRST LAST - what inspect says of these steps: "step rank sequence file document first tokens document_tokens".
rows() {
    step=$2
    while [ "$step" -le "$3" ]; do
        "$atelier" inspect "$1" --step "$step" >"$log" 2>&1 || fail "inspect --step $step"
        awk -v step="$step" '$1 == "rank" {
            for (i = 1; i < NF; i++) { if ($i ~ /^(rank|sequence|document|first_token|tokens|document_tokens)$/) v[$i] = $(i + 1)
                                       if ($i ~ /\.h5$/) { n = split($i, part, "/"); file = part[n] } }
            print step, v["rank"], v["sequence"], file, v["document"], v["first_token"], v["tokens"], v["document_tokens"] }' "$log"
        step=$((step + 1))
    done
}

# expected ROWS RANK - the reads that these rows mean, in tokens: "file first count", and one token more where the document goes
# on, which is the last one's target.  Documents lie in the file one after another; the rows have all of them.
expected() {
    awk -v rank="$2" 'NR == FNR { length_of[$4, $5] = $8; if ($5 > last[$4]) last[$4] = $5; next }
        FNR == 1 { for (f in last) for (d = 0; d <= last[f]; d++) {
                       if (!((f, d) in length_of)) { print "document", d, "of", f, "is in no step"; exit 1 }
                       begin[f, d + 1] = begin[f, d] + length_of[f, d] } }
        $2 == rank { print $4, begin[$4, $5] + $6, $7 + ($6 + $7 < $8) }' "$1" "$1"
}

# recorded FILE COUNT - the first so many reads of tokens, counted from the first one of each file that was ever read: ids of 2
# bytes, whose dataset begins where document 0 does.
recorded() {
    head -n "$2" "$1" | awk -v bases="$work/bases" 'BEGIN { while ((getline line < bases) > 0) { split(line, p, " "); base[p[1]] = p[2] } }
        { print $1, ($2 - base[$1]) / 2, $3 / 2 }'
}

# compare ROWS FOLDER NUM_RANKS - rank by rank, in the order of reading; a rank reads ahead of what it computes.
compare() {
    rank=0
    while [ "$rank" -lt "$3" ]; do
        expected "$1" "$rank" >"$work/expected" || fail "$(cat "$work/expected")"
        recorded "$2.reads.$rank" "$(wc -l <"$work/expected")" >"$work/recorded"
        [ -s "$work/expected" ] || fail "rank $rank reads nothing, it is said"
        cmp -s "$work/expected" "$work/recorded" || return 1
        rank=$((rank + 1))
    done
}

# by_document FOLDER ROWS LAST_STEP - the rows that `inspect --document` has of every document are those of the steps.
by_document() {
    sort -u -k4,4 -k5,5n "$2" | awk '!seen[$4, $5]++ { print $4, $5 }' | while read -r file document; do
        "$atelier" inspect "$1" --document "$file:$document" >"$log" 2>&1 || fail "inspect --document $file:$document"
        awk -v last="$3" '$1 == "step" && $2 <= last { for (i = 1; i < NF; i++) v[$i] = $(i + 1); for (i = 1; i <= NF; i++) if ($i ~ /\.h5$/) {
            n = split($i, part, "/"); print v["step"], v["rank"], v["sequence"], part[n], v["document"], v["first_token"], v["tokens"] } }' "$log"
    done | sort >"$work/of-documents"
    cut -d' ' -f1-7 "$2" | sort >"$work/of-steps"
    cmp -s "$work/of-steps" "$work/of-documents"
}

# base FILE - where its tokens begin, by the reads: document 0 is read in every epoch.
: >"$work/bases"
record 0 0 "$work/whole-0" --set data.packing=whole --set train.steps=40
sort -k1,1 -k2,2n "$work/whole-0.reads.0" | awk '!seen[$1]++ { print $1, $2 }' >"$work/bases"
expect "files that were read" 2 "$(wc -l <"$work/bases")"

for packing in whole stream; do
    for ranks in 1 2; do
        folder=$work/$packing-$ranks
        record 0 $ranks "$folder" --set data.packing=$packing --set train.steps=40 --set train.micro_sequences=$((3 - ranks))
        rows "$folder" 1 40 >"$folder.rows"
        compare "$folder.rows" "$folder" "$ranks" || fail "$packing, $ranks ranks: $(diff "$work/expected" "$work/recorded" | head -n 4)"
        [ "$ranks" = 1 ] || by_document "$folder" "$folder.rows" 40 || fail "$packing: $(diff "$work/of-steps" "$work/of-documents" | head -n 4)"
        say "$packing, $ranks rank(s): $(wc -l <"$folder.rows") pieces of documents in 40 steps, read as inspect says"
    done
done
# controls: another seed, another number of ranks and another packing are told apart
compare "$work/whole-1.rows" "$work/stream-1" 1 && fail "the reads of another packing pass"
compare "$work/stream-1.rows" "$work/stream-2" 1 && fail "the reads of two ranks pass for those of one"
record 0 1 "$work/seed" --set data.packing=whole --set train.steps=40 --set run.seed=8
compare "$work/whole-1.rows" "$work/seed" 1 && fail "the reads of another seed pass"

# --- a restart on two ranks after one: each step by the start that trained it; and what is to come ---
folder=$work/split
record 75 1 "$folder" --set train.steps=40 --set train.stop_after_s=0.001
done_steps=$(saved_step "$folder")
[ "$done_steps" -lt 40 ] || fail "the run should have stopped before its end"
rows "$folder" 1 40 >"$work/foreseen.rows"
"$atelier" inspect "$folder" --document fiches.h5:5 --json >"$log" || fail "inspect --document"
expect "steps done" "$done_steps" "$(json_number steps_done "$log")"
grep -q '"to_come": \[$' "$log" || fail "document 5 should come again"
record 0 2 "$folder" --set train.steps=40
rows "$folder" 1 40 >"$folder.rows"
awk -v s="$done_steps" '$1 <= s' "$folder.rows" >"$work/before"
awk -v s="$done_steps" '$1 <= s' "$work/foreseen.rows" | cmp -s - "$work/before" || fail "what was done before the restart changed"
cut -d' ' -f1,3- "$work/foreseen.rows" >"$work/a" && cut -d' ' -f1,3- "$folder.rows" >"$work/b"
cmp -s "$work/a" "$work/b" || fail "the restart reads other documents than was foreseen"
awk -v s="$done_steps" '$1 > s { print $2 }' "$folder.rows" | sort -u | tr '\n' ' ' >"$work/ranks"
expect "ranks after the restart" "0 1 " "$(cat "$work/ranks")"
# all rows say how long documents are, those after the restart what was read
awk -v s="$done_steps" '{ if ($1 <= s) $2 = "-"; print }' "$folder.rows" >"$work/after.rows"
compare "$work/after.rows" "$folder" 2 || fail "after the restart: $(diff "$work/expected" "$work/recorded" | head -n 4)"
say "restart after step $done_steps on two ranks: foreseen, and read so"

# --- by hash: the same document as by its number; in the text of a step too ---
hash=$("$atelier" inspect "$folder" --document fiches.h5:5 --json | sed -n 's/.*"hash": "\([0-9a-f]*\)".*/\1/p')
"$atelier" inspect "$folder" --document "$hash" --json >"$work/by-hash" || fail "inspect --document $hash"
"$atelier" inspect "$folder" --document fiches.h5:5 --json | cmp -s - "$work/by-hash" || fail "a hash means another document"

# --- a new line from a checkpoint: steps of before are another run's ---
record 0 1 "$work/branch" --set "checkpoint.from=$folder@$done_steps" --set "train.steps=$((done_steps + 3))" --set run.seed=9
run 1 "$atelier" inspect "$work/branch" --step "$done_steps"
expect_output "has steps $((done_steps + 1)) to $((done_steps + 3))"
run 0 "$atelier" inspect "$work/branch" --step "$((done_steps + 1))"
expect_output "^steps_of_another_run *$done_steps\$"

# --- a run of a version that kept no data.jsonl: the documents, without ranks ---
rm "$folder/data.jsonl"
run 0 "$atelier" inspect "$folder" --step 3 --json
grep -q '"rank": null' "$log" || fail "nobody knows the rank any more"
# --- refused ---
run 1 "$atelier" inspect "$folder" --document 5
expect_output "the run reads 2 token files, name one of them: --document .*fiches.h5:NUMBER"
run 1 "$atelier" inspect "$folder" --document fiches.h5:100000
expect_output "has [0-9]* documents, counted from 0"
run 1 "$atelier" inspect "$folder" --document 0123456789abcdef0123456789abcdef
expect_output "no token file of the run has a document with this hash"
run 1 "$atelier" inspect "$folder" --step 41
expect_output "has steps 1 to 40"
run 1 "$atelier" inspect "$work/fiches.h5" --document 5
expect_output "--document asks a run what it reads, and '.*fiches.h5' is a file"
run 2 "$atelier" inspect "$folder" --step 3 --document 5
expect_output "ask one of them"
run 1 "$atelier" inspect "$work" --step 3
expect_output "is not a run"
echo '{"after_step": 0, "steps": 3}' >"$folder/data.jsonl"
run 1 "$atelier" inspect "$folder" --step 3
expect_output "data.jsonl' line 1: "
mv "$work/second.h5" "$work/fiches.h5"
run 1 "$atelier" inspect "$work/whole-1" --step 3
expect_output "second.h5"
say "refused: no such document, step, run or file"
