#!/bin/sh
# check_budgets.sh - registers, stack and shared memory of every CUDA kernel against kernels/cuda/BUDGETS, from what
# nvcc's assembler reported when build/cuda was built: no new spills, no kernel over its budget or without one, none
# missing, and no line of advice, such as an ignored setmaxnreg or wgmma that were serialised.
#   check_budgets.sh            check (and check that doctored reports are noticed)
#   check_budgets.sh --write    print a new BUDGETS, for review
# CUDA_OUT: where the reports (*.ptxas) are.  BUDGETS, RELEASE, ARCH: another table, the compiler that its reports are of and the
# only architecture to look at (tests/check_sm70.sh); without them all but sm_70.
cd "$(dirname "$0")/.." || exit 1
reports=${CUDA_OUT:-build/cuda}/kernels
budgets=${BUDGETS:-kernels/cuda/BUDGETS}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

if [ -z "${RELEASE:-}" ]; then
    for tool in "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" nvcc /usr/local/cuda/bin/nvcc; do # as the Makefile
        command -v "$tool" >/dev/null 2>&1 && nvcc=$tool && break
    done
    test -n "${nvcc:-}" || { echo "nvcc is not found: there are no CUDA kernels to look at"; exit 77; }
fi
find "$reports" -name '*.ptxas' 2>/dev/null | sort >"$work/list"
test -s "$work/list" || { echo "'$reports' holds no report: 'make cuda' makes them"; exit 77; }
release=${RELEASE:-nvcc $("$nvcc" --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p')}

# kernels FILE - one line for each kernel of a report: NAME ARCH REGISTERS STACK SHARED SPILLS, names without
# arguments and spaces.  Functions that were not inlined have a line with registers 0.
kernels() {
    c++filt <"$1" | awk -v only="${ARCH:-}" '
        # The name up to the parenthesis of the arguments; those inside <> belong to it.
        function short(text, i, depth, c) {
            sub(/^void /, "", text)
            sub(/^\(anonymous namespace\)::/, "", text)
            for (i = 1; i <= length(text); i++) {
                c = substr(text, i, 1)
                if (c == "<") depth++
                if (c == ">") depth--
                if (c == "(" && depth == 0) break
            }
            text = substr(text, 1, i - 1)
            gsub(/ /, "", text)
            return text
        }
        function number(before, i) { # the number in front of a text of the line
            i = match($0, "[0-9]+ " before)
            return i ? substr($0, RSTART, RLENGTH) + 0 : 0
        }
        function flush() {
            if (name != "" && (only == "" ? arch != "sm_70" : arch == only)) print name, arch, registers, stack, shared, spills
            name = ""
        }
        /Compiling entry function/ {
            flush(); arch = $0
            sub(/.*\047 for \047/, "", arch); sub(/\047.*/, "", arch)
        }
        /Function properties for/ {
            flush(); name = $0
            sub(/.*Function properties for /, "", name)
            name = short(name); registers = stack = shared = spills = 0
        }
        /bytes stack frame/ { stack = number("bytes stack frame"); spills = number("bytes spill stores") + number("bytes spill loads") }
        /Used [0-9]+ registers/ { registers = $0; sub(/.*Used /, "", registers); registers += 0; shared = number("bytes smem") }
        END { flush() }'
}

# unknown_lines FILE - what the assembler says besides the report.
unknown_lines() {
    grep -vE '^ptxas info +: ([0-9]+ bytes gmem|Compiling entry function|Function properties for|Used [0-9]+ registers|Compile time)|^ +[0-9]+ bytes stack frame|^$' "$1"
}

# check LIST - print every complaint about the reports named in a file.
check() {
    while read -r report; do
        unknown_lines "$report" | sed "s|^|$report: |"
        kernels "$report"
    done <"$1" >"$work/found"
    grep '\.ptxas: ' "$work/found"
    grep -v '\.ptxas: ' "$work/found" | awk -v same_release="$(grep -c "^# $release$" "$budgets")" '
        FNR == NR { if ($0 !~ /^#/ && NF) { budget[$1 " " $2] = $3 " " $4 " " $5; spilled[$1 " " $2] = $6 }; next }
        $6 > spilled[$1 " " $2] + 0 { print $1, "spills", $6, "bytes on", $2 }
        $3 == 0 { next } # not a kernel
        { key = $1 " " $2; seen[key] = 1 }
        !(key in budget) { print $1, "has no budget on", $2; next }
        {
            split(budget[key], most, " ")
            # Another release of nvcc places registers otherwise: then only what is wrong with any of them counts.
            if (same_release && $3 > most[1]) print $1, "takes", $3, "registers on", $2 ", its budget is", most[1]
            if (same_release && $4 > most[2]) print $1, "takes", $4, "bytes of stack on", $2 ", its budget is", most[2]
            if ($5 > most[3]) print $1, "takes", $5, "bytes of static shared memory on", $2 ", its budget is", most[3]
        }
        END { for (key in budget) if (!(key in seen)) print key, "is in the budgets, and in no report" }' "$budgets" -
}

# noticed WHAT SED_SCRIPT - a report changed by the script must lead to one more complaint.
noticed() {
    sed "$2" "$(head -n 1 "$work/list")" >"$work/doctored.ptxas"
    cmp -s "$(head -n 1 "$work/list")" "$work/doctored.ptxas" && echo "the control '$1' changed nothing" && return
    { echo "$work/doctored.ptxas"; tail -n +2 "$work/list"; } >"$work/doctored_list"
    check "$work/doctored_list" >"$work/complaints"
    grep -qE "$1" "$work/complaints" || echo "a report with '$1' was not noticed"
}

if [ "${1:-}" = --write ]; then
    cat <<END
# ${budgets##*/} - what each CUDA kernel may take; tests/check_budgets.sh compares it with the assembler's reports.
# Written by 'make budgets' (BUDGETS_SM70: by tests/check_sm70.sh --write) and reviewed: more registers can halve the blocks that fit on a multiprocessor, stack means
# arrays in slow memory, static shared memory is not poisoned by the tests.  Registers are rounded up to the 8 that the
# hardware gives at a time.  Bytes of spills are a last column of the rows that have some; 0 elsewhere.
# $release
# kernel architecture registers stack_bytes static_shared_bytes
END
    while read -r report; do kernels "$report"; done <"$work/list" |
        awk '$3 > 0 { print $1 " " $2 " " int(($3 + 7) / 8) * 8 " " $4 " " $5 ($6 > 0 ? " " $6 : "") }' | LC_ALL=C sort -k1,2 -k3,3nr | LC_ALL=C sort -u -s -k1,2
    exit 0
fi

test -e "$budgets" || { echo "'$budgets' is missing"; exit 1; }
check "$work/list" >"$work/complaints"
cat "$work/complaints"
test -s "$work/complaints" && exit 1
{
    noticed 'spills' 's/0 bytes spill stores/8 bytes spill stores/'
    noticed 'setmaxnreg' "1i ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored"
    noticed 'serialized' '1i ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async is serialized'
    noticed 'in no report' '/Compiling entry/,999999d'
    noticed 'has no budget' 's/\(Function properties for _Z[0-9N]*\)/\1X/'
    noticed 'bytes of static shared memory' 's/Used \([0-9]*\) registers/Used \1 registers, 99999 bytes smem/'
    if grep -q "^# $release$" "$budgets"; then
        noticed 'registers on' 's/Used [0-9]* registers/Used 999 registers/'
    fi
} >"$work/controls"
cat "$work/controls"
test ! -s "$work/controls" || exit 1
grep -q "^# $release$" "$budgets" ||
    echo "this is $release, budgets of registers and stack are for $(sed -n 's/^# \(nv[a-z]* [0-9.]*\)$/\1/p' "$budgets")"
