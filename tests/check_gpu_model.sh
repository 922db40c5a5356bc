#!/usr/bin/env bash
# check_gpu_model.sh - the table of predicted times in kernels/cuda/NOTES.md is what tests/gpu/model.py makes of kernels/cuda/SASS.
# The control: a longer loop in SASS is another table.
set -o pipefail
cd "$(dirname "$0")/.." || exit 1
notes=kernels/cuda/NOTES.md
command -v python3 >/dev/null 2>&1 || { echo "python3 is not found: the table cannot be made"; exit 77; }
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

# missing TABLE - print the rows of a table that the notes do not hold.
missing() {
    grep '^|' "$1" | grep -vxFf <(grep '^|' $notes)
}

python3 tests/gpu/model.py >"$work/table" || exit 1
test "$(grep -c '^|' "$work/table")" -ge 12 || { echo "tests/gpu/model.py prints no table"; exit 1; }
missing "$work/table" >"$work/missing"
test ! -s "$work/missing" || { echo "$notes lacks what tests/gpu/model.py prints:"; cat "$work/missing"; exit 1; }
sed 's/^\(gated_forward_kernel<bf16_t,8,(gate)0> sm_90a .*\) [0-9]*$/\1 4000/' kernels/cuda/SASS >"$work/SASS"
python3 tests/gpu/model.py "$work/SASS" >"$work/table" || exit 1
missing "$work/table" | grep -q '^| SwiGLU forward.*issue' || { echo "a loop ten times as long is not noticed"; exit 1; }

# The plan counts products of experts by the same: the last column of its table of rates.  The control: a longer loop of theirs.
rates=train/plan/gpu_rates.c
sed -n 's/^    {"\([A-Z]*[0-9]*\)", .*, \([0-9.]*\)},$/\1 \2/p' $rates >"$work/rates"
python3 tests/gpu/model.py --experts >"$work/experts" || exit 1
cmp -s "$work/rates" "$work/experts" || { echo "$rates and tests/gpu/model.py --experts differ:"; diff "$work/rates" "$work/experts"; exit 1; }
sed 's/^\(grouped_tiles_kernel<.*\) [0-9]*$/\1 900/' kernels/cuda/SASS >"$work/SASS"
python3 tests/gpu/model.py --experts "$work/SASS" >"$work/experts" || exit 1
if cmp -s "$work/rates" "$work/experts"; then echo "longer loops of experts' products are not noticed"; exit 1; fi
