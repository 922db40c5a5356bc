#!/bin/sh
# scenario_report.sh - runs as one page: every part of it, its numbers worked out anew from the metrics, the same in French,
# nothing in it that leads out of it or runs, whatever names and files hold; several runs side by side; the table of metrics;
# files of others are never written over.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario report
command -v python3 >/dev/null || skip "no python3: the page cannot be checked"

# checked ARGUMENT... - the page is right; refused ARGUMENT... - the control: the check sees that it is not.
checked() {
    run 0 python3 tests/scenario/check_report.py "$@"
}
refused() {
    run 1 python3 tests/scenario/check_report.py "$@"
}
# changed FROM TO SCRIPT - a page with a fault, which must differ.
changed() {
    sed "$3" "$1" >"$2"
    ! cmp -s "$1" "$2" || fail "control: '$3' changes nothing"
}

# provenance CHECKPOINT SCRIPT - changed by sed, and the size that the manifest has of it with it: else it is not complete.
provenance() {
    sed -i "$2" "$1/provenance.json"
    sed -i "/\"provenance.json\"/{n;s/[0-9][0-9]*/$(wc -c <"$1/provenance.json")/}" "$1/manifest.json"
}

# --- a run with a restart, a crash after its last checkpoint, validations and an evaluation ---
prepare_sample
train 0 2 "$work/run" --set train.steps=4 --set valid.every_steps=1
printf '%s\n' '{"step": 5, "loss": 98765.5, "grad_norm": 1, "tokens": 512, "target_tokens": 512, "seconds": 1}' >>"$work/run/metrics.jsonl"
train 0 2 "$work/run" --set train.steps=24 --set valid.every_steps=1
"$atelier" eval "$work/run" --data "$work/fiches-valid.h5" --json >"$work/run/eval-valid.json" 2>"$log" || fail "eval"
for i in 1 2 3; do
    printf '{"id": %s, "query": "Le dossier %s se dépose à la", "choices": ["mairie", "plage"], "gold": %s, "group": "<démarches> %s"}\n' \
        "$i" "$i" "$((i % 2))" "$((i / 3))"
done >"$work/questions.jsonl"
run 0 "$atelier" eval "$work/run" --tasks "$work/questions.jsonl" --results "$work/run/eval-tasks.json"
run 0 "$atelier" report "$work/run"
expect_output "^wrote '$work/run/report.html'$"
checked "$work/run/report.html" "$work/run"
run 0 "$atelier" report "$work/run" --language fr --output "$work/fr.html" --csv "$work/metrics.csv"
checked "$work/run/report.html" "$work/run" --french "$work/fr.html"
for text in "complete: all steps were done" "24 of 24" "Steps done again after a restart" "eval-valid.json" "Apache-2.0" "optimizer:"; do
    grep -q "$text" "$work/run/report.html" || fail "the page lacks '$text'"
done
# shares - of the groups as the page has them, and as the results do.
shares() {
    tr -d '\n' <"$work/run/report.html" | grep -o '<td>eval-tasks.json</td><td>[^<]*</td><td class="number">[0-9]*' | sed 's/.*>//'
}
expect "questions of all, and of each group" "3 2 1" "$(shares | tr '\n' ' ' | sed 's/ $//')"
grep -q 'Questions with choices' "$work/run/report.html" || fail "the answers to questions are not told"
grep -q '&lt;démarches&gt; 1' "$work/run/report.html" || fail "a group's name is not told as text"
! grep -q '98,765' "$work/run/report.html" || fail "a step that was done again is still told"
grep -q "terminé" "$work/fr.html" || fail "the French page is not French"
expect "files of the page" report.html "$(cd "$work/run" && echo report.html*)"
# A file of somebody else's under a name that a writer might use is left as it is; a folder under it is not in the way.
echo mine >"$work/mine.html.partial"
mkdir "$work/mine.csv.partial"
run 0 "$atelier" report "$work/run" --output "$work/mine.html" --csv "$work/mine.csv"
# Standard output has the page, or the table, and nothing else; no file is called '-'.
"$atelier" report "$work/run" --output - --csv "$work/piped.csv" >"$work/piped.html" 2>"$work/told" ||
    fail "a page to standard output"
expect "what is said beside the page" "wrote '$work/piped.csv'" "$(cat "$work/told")"
"$atelier" report "$work/run" --output "$work/mine.html" --csv - >"$work/piped-too.csv" 2>"$work/told" ||
    fail "a table to standard output"
expect "what is said beside the table" "wrote '$work/mine.html'" "$(cat "$work/told")"
[ ! -e - ] || fail "a file '-' was made"
checked "$work/piped.html" "$work/run"
cmp "$work/mine.csv" "$work/piped.csv" || fail "the table beside a page differs"
cmp "$work/mine.csv" "$work/piped-too.csv" || fail "the table on standard output differs"
run 1 "$atelier" report "$work/run" --output - --csv -
expect_output "is where the page goes"
expect "the file beside a report" mine "$(cat "$work/mine.html.partial")"

# The controls: each kind of fault is seen.
changed "$work/run/report.html" "$work/bad.html" 's/<main>/<main><script>0<\/script>/' && refused "$work/bad.html"
changed "$work/run/report.html" "$work/bad.html" 's/<h1>/<h1 onclick="0">/' && refused "$work/bad.html"
changed "$work/run/report.html" "$work/bad.html" 's/href="#cost"/href="https:\/\/example.org"/' && refused "$work/bad.html"
changed "$work/run/report.html" "$work/bad.html" 's/<section id="cost">/<section id="price">/' && refused "$work/bad.html"
changed "$work/run/report.html" "$work/bad.html" 's/<\/h1>/<\/h2>/' && refused "$work/bad.html"
changed "$work/run/report.html" "$work/bad.html" 's/ (nats per token)<\/text>/<\/text>/' && refused "$work/bad.html"
changed "$work/run/report.html" "$work/bad.html" 's/24 of 24/25 of 24/' && refused "$work/bad.html" "$work/run"
changed "$work/fr.html" "$work/bad.html" 's/24 sur 24/25 sur 24/' && refused "$work/run/report.html" --french "$work/bad.html"
printf '%s\n' '{"step": 25, "loss": 3, "grad_norm": 1, "tokens": 5, "target_tokens": 5, "seconds": 1}' >>"$work/run/metrics.jsonl"
refused "$work/run/report.html" "$work/run"
sed -i '$d' "$work/run/metrics.jsonl"

# --- the table: each step and validation once ---
expect "rows of steps" 24 "$(grep -c '^run,[0-9]*,step,' "$work/metrics.csv")"
expect "rows of step 5" 1 "$(grep -c '^run,5,step,' "$work/metrics.csv")"
python3 - "$work" >"$log" <<'END' || fail "the table is not the metrics"
import csv, json, sys
rows = list(csv.DictReader(open(sys.argv[1] + "/metrics.csv", newline="")))
lines = {}
for line in open(sys.argv[1] + "/run/metrics.jsonl"):
    record = json.loads(line)
    if "event" not in record:
        lines[record["step"]] = record
steps = [row for row in rows if row["event"] == "step"]
assert len(steps) == len(lines) == 24
for row in steps:
    assert row["run"] == "run"  # its name, as on the page; a line has the run's id
    for key, value in lines[int(row["step"])].items():
        assert key == "run" or key not in row or (row[key] == value if isinstance(value, str) else float(row[key]) == value), (key, value, row)
assert float(steps[3]["loss"]) != lines[5]["loss"]  # the control: another step has another loss
END

# --- side by side ---
train 0 2 "$work/other" --set train.steps=12 --set optimizer.learning_rate=2e-3
run 2 "$atelier" report "$work/run" "$work/other"
expect_output "^error: --output is missing"
run 0 "$atelier" report "$work/run" "$work/other" --output "$work/both.html"
checked "$work/both.html" --runs 2
run 0 "$atelier" report "$work/run" "$work/other" --output "$work/both-fr.html" --language fr
checked "$work/both.html" --runs 2 --french "$work/both-fr.html"
tr -d '\n' <"$work/both.html" | grep -q 'optimizer.learning_rate</th><td>0.001</td><td>0.002</td>' ||
    fail "the difference of the run files is not told"
! tr -d '\n' <"$work/both.html" | grep -q '<th scope="row">optimizer.beta1</th>' || fail "what is the same is told as a difference"

mkdir "$work/elsewhere" && cp -r "$work/other" "$work/elsewhere/run"
run 0 "$atelier" report "$work/run" "$work/elsewhere/run" --output "$work/both.html"
checked "$work/both.html" --runs 2
grep -q 'Runs: run, run (2)' "$work/both.html" || fail "two runs of one name are not told apart"

# --- energy, a run that went wrong, another objective ---
cp -r "$work/other" "$work/counted"
sed -i 's/"seconds": .*,/"seconds": 5400.0,/; s/"gpus": 0/"gpus": 4/; s/"gpu_joules": 0.0/"gpu_joules": 18e6/; s/"gpus_counted": 0/"gpus_counted": 3/' \
    "$work/counted/ledger.json"
sed -i '$!N; s/"tokens": \([0-9]*\), "target/"diverged_since": 11, "tokens": \1, "target/; P; D' "$work/counted/metrics.jsonl"
provenance "$work/counted/step-000012" 's/"procedure": {/"procedure": {"objective": "dpo <1>",/'
run 0 "$atelier" report "$work/counted"
checked "$work/counted/report.html"
# told ROW VALUE - in the table; the factor is that of the place where the test runs, where it is known.
told() {
    tr -d '\n' <"$work/counted/report.html" | grep -qF "<th scope=\"row\">$1</th><td class=\"number\">$2" || fail "'$1' is not told as '$2'"
}
told "GPU time (GPU-hours)" "6.000<"
told "Energy (kWh)" "5.000<"
told "Hardware time covered by counters (%)" "75<"
factor=$(sed -n 's/.*"grams_co2_per_kwh": \([0-9.]*\).*/\1/p' "$work/counted/step-000012/provenance.json")
pue=$(sed -n 's/.*"pue": \([0-9.]*\).*/\1/p' "$work/counted/step-000012/provenance.json")
told "CO2 equivalent (kg)" "$(awk "BEGIN { printf \"%.4f\", 5 * $factor * ($pue > 0 ? $pue : 1) / 1000 }")"
told State '<span class="alarm">FAILED: the loss is out of bounds since step 11<'
grep -q 'objective: dpo &lt;1&gt;' "$work/counted/report.html" || fail "the objective is not told"
grep -q '>Training loss (no unit)<' "$work/counted/report.html" || fail "the loss of another objective has no unit of tokens"

# --- names and files that would break a page ---
evil=$work/'<script>alert(1)<&"'"'"'>'
cp -r "$work/run" "$evil"
printf '%s\n' '{"event": "ranks", "step": 24, "compute_median_s": 1, "compute_slowest_s": 9, "slowest_rank": 3, "slowest_host": "</td><img src=x onerror=alert(1)>\u202e"}' \
    '{"event": "validation", "step": 24, "loss": 1, "bits_per_byte": 2, "sources": [{"source": "\"><a href=//x>", "loss": 3}, {"source": "\ud83d\ude00", "loss": 4, "bits_per_byte": 1.125}]}' \
    '{"event": "validation", "step": 24, "loss": 1, "sources": {"<i>of an object</i>": {"loss": 4}}}' \
    '{"event": "ranks", "step": 24, "compute_median_s": 1, "compute_slowest_s": 9, "slowest_rank": 3, "slowest_host": "]]><script>x</script>\u0000"}' \
    >>"$evil/metrics.jsonl"
printf '{"loss": 1, "perplexity": 2, "bits_per_byte": 0.875, "target_tokens": 3, "sources": {"<b onload=x>": {"loss": null}, "<i>": {"loss": 2}}}' >"$evil/eval-<x>.json"
echo '{' >"$evil/eval-broken.json"
for checkpoint in "$evil"/step-*; do
    provenance "$checkpoint" 's/"name": "fiches"/"name": "<svg onload=x>\\u202e"/; s/"licence": "Apache-2.0"/"licence": "<\/pre><iframe src=\/\/x>"/'
done
run 0 "$atelier" report "$evil"
expect_output "without '.*eval-broken.json'"
checked "$evil/report.html"
grep -q '&quot;&gt;&lt;a href=//x&gt;' "$evil/report.html" || fail "the hostile source of a validation is not told as text"
grep -q '>1.125<' "$evil/report.html" || fail "bits per byte are not told"
grep -q '>0.87500*<' "$evil/report.html" || fail "bits per byte of an evaluation are not told"
grep -q '&lt;b onload=x&gt;' "$evil/report.html" || fail "the hostile evaluation is not told as text"
grep -q '&lt;svg onload=x&gt;?' "$evil/report.html" || fail "the hostile corpus is not told as text"
grep -q '&lt;img src=x onerror=alert(1)&gt;?' "$evil/report.html" || fail "the hostile host is not told as text"

# --- what is there is left as it is; what is missing is told ---
echo "mine" >"$work/mine.html"
run 1 "$atelier" report "$work/run" --output "$work/mine.html"
expect_output "exists already and is not an earlier report"
expect "somebody's file" mine "$(cat "$work/mine.html")"
run 1 "$atelier" report "$work/run" --csv "$work/mine.html"
expect "somebody's file" mine "$(cat "$work/mine.html")"
for same in "$work/two" "$work/run/../two"; do
    run 1 "$atelier" report "$work/run" --output "$work/two" --csv "$same"
    expect_output "error: --csv: '.*two' is where the page goes"
done
run 1 "$atelier" report "$work/run" --output "$work/no-such-folder/x.html"
expect_output "no-such-folder.*; choose another --output"
run 1 "$atelier" report "$work"
expect_output "is not the folder of a run: it has no metrics.jsonl"
run 2 "$atelier" report "$work/run" a b c d e f g h --output x
expect_output "9 runs are too many"
run 2 "$atelier" report "$work/run" --no-such-option
# What the run itself asked of its model is an evaluation, first and last; the control is the run without it.
mkdir "$work/asked"
{
    echo '{"event": "start", "after_step": 0, "steps": 9}'
    for step in 0 4 9; do
        echo '{"event": "tasks", "step": '"$step"', "all": {"items": 5, "acc": 0.2}, "groups": {"<loi>": {"items": 5, "acc": 0.4}}}'
    done
} >"$work/asked/metrics.jsonl"
run 0 "$atelier" report "$work/asked"
checked "$work/asked/report.html"
expect "rows of its evaluations" 4 "$(grep -o '<td>metrics.jsonl, at step [09]</td>' "$work/asked/report.html" | wc -l)"
! grep -q 'at step 4</td>' "$work/asked/report.html" || fail "more than the first and the last answers"
grep -q '&lt;loi&gt;' "$work/asked/report.html" || fail "the group is not told as text"
! grep -q 'metrics.jsonl, at step' "$work/run/report.html" || fail "a run without eval.tasks has answers"
# Damaged lines are counted, on the page too; a file of nothing else is no record.  The control: the whole file has none.
mkdir "$work/damaged"
awk 'NR % 5 == 0 { print "\001" $0; next } { print }' "$work/run/metrics.jsonl" >"$work/damaged/metrics.jsonl"
run 0 "$atelier" report "$work/damaged"
num_damaged=$(grep -c "$(printf '\001')" "$work/damaged/metrics.jsonl")
expect_output "warning: $num_damaged of the [0-9]+ lines of '.*damaged/metrics.jsonl' cannot be read"
tr -d '\n' <"$work/damaged/report.html" | grep -q "Damaged lines of the record[^<]*</th><td[^>]*>$num_damaged<" ||
    fail "damaged lines are not on the page"
# So are those that no run can have written: a text for a number, a step beyond its last, a negative loss, no time.  The control: a
# loss of pairs, which may be negative, and a time as a run writes it.
mkdir "$work/impossible"
cp "$work/run/metrics.jsonl" "$work/impossible"
for values in '7, "loss": "x"' '99999999999, "loss": 1' '25, "loss": 1' '-1, "loss": 1' '"7", "loss": 1'; do
    printf '{"step": %s, "tokens": 512, "seconds": 1}\n' "$values" >>"$work/impossible/metrics.jsonl"
done
for values in '"loss": -1' '"loss": 1, "seconds": -1' '"loss": 1, "tokens": -5' '"loss": 1, "time": "2026-13-01T00:00:00.000Z"' \
    '"loss": 1, "time": "yesterday"' '"loss": 1, "time": 7' '"loss": 1, "time": "2026-11-29T24:00:00.000Z"' \
    '"loss": -1, "rewards/chosen": 0.5' '"loss": 1, "time": "2026-11-29T23:59:59.999Z"'; do
    printf '{"step": 7, %s}\n' "$values" >>"$work/impossible/metrics.jsonl"
done
run 0 "$atelier" report "$work/impossible"
expect_output "warning: 12 of the [0-9]+ lines of '.*impossible/metrics.jsonl' cannot be read"
grep -q '24 of 24' "$work/impossible/report.html" || fail "an impossible line moves the end of the run"
! grep -q '99,999,999,999' "$work/impossible/report.html" || fail "a step that no run has is on the page"
! grep -q "Damaged lines" "$work/run/report.html" || fail "a whole record has damaged lines"
head -c 20000 /dev/urandom >"$work/damaged/metrics.jsonl"
echo >>"$work/damaged/metrics.jsonl"
run 1 "$atelier" report "$work/damaged"
expect_output "error: '.*damaged/metrics.jsonl' has no line that can be read"
# A run that goes on without what was recorded of its beginning says so; control: with it, it did not.
! grep -q 'nothing is recorded of the steps' "$work/run/log.txt" || fail "a whole record is told to be missing"
cp -r "$work/run" "$work/lost"
rm "$work/lost/metrics.jsonl"
train 0 0 "$work/lost" --set train.steps=25
expect_output '^warning: metrics.jsonl was empty or missing: nothing is recorded of the steps up to 24'
# A run of which nothing but its metrics is left: each part says so, and no chart is empty.
mkdir "$work/bare" && echo '{"event": "start", "after_step": 0, "steps": 9}' >"$work/bare/metrics.jsonl"
run 0 "$atelier" report "$work/bare"
checked "$work/bare/report.html"
! grep -q 'class="chart"' "$work/bare/report.html" || fail "a chart of nothing"
[ "$(grep -o 'not recorded' "$work/bare/report.html" | wc -l)" -ge 10 ] || fail "what is missing is not told"
say "every part, its numbers from the metrics, the same in French, hostile names are text"
