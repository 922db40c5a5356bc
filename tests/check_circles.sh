#!/usr/bin/env bash
# check_circles.sh - fail where files of one folder call each other in a circle, or headers include each other in one
# Calls: who defines and who uses a name, by nm of the objects.  OUT: the folder of the build; SIMT_OUT: that of the GPU's
# files, left out where it was not built.
cd "$(dirname "$0")/.." || exit 1
out=${OUT:-build/cpu} simt_out=${SIMT_OUT:-build/simt}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

# They call each other by design: modules that are cut into files because they are long.  Attention's front door on the GPU
# chooses a path, and the paths read the problem as it describes it.  An expression of a template holds expressions.
allowed='^(train/ranks/comm_mpi(_sums|_watch|_pairs|_shared)?[.]c|data/template/jinja_(eval|call|operator)[.]c|kernels/cuda/attention[a-z0-9_]*[.]cu)$'

# calls FOLDER... - "FILE FILE NAME" for each name that a file takes from another file of its folder; FOLDER holds objects
# of sources with the paths below it.
calls() {
    for objects in "$@"; do
        find "$objects"/{kernels,data,checkpoints,configs,slurm,train} -name '*.o' 2>/dev/null | sort | while read -r object; do
            [ -f "$(source_of "$objects" "$object")" ] && printf '%s\n' "$object" # not what a removed file left
        done | xargs -r nm -A -g | sed "s|^$objects/||"
    done | awk '{
        colon = index($0, ":"); file = substr($0, 1, colon - 1); sub(/\.o$/, "", file)
        count = split(substr($0, colon + 1), word, " "); kind = word[count - 1]; name = word[count]
        if (kind ~ /^[TDBRVWi]$/) definer[name] = definer[name] ? definer[name] : file
        else if (kind == "U") { user[++uses] = file; used[uses] = name }
    } END {
        for (i = 1; i <= uses; i++) {
            from = user[i]; to = definer[used[i]]
            if (!to || to == from) continue
            a = from; b = to; sub(/\/[^\/]*$/, "", a); sub(/\/[^\/]*$/, "", b)
            if (a == b) print from, to, used[i]
        }
    }'
}
source_of() {
    local path=${2#"$1"/}
    echo "${path%.o}"
}

# includes - "FILE FILE include" for each header that a header includes.
includes() {
    find kernels data checkpoints configs slurm train \( -name '*.h' -o -name '*.cuh' -o -name '*.inc' \) -print0 |
        xargs -0 grep -H '^#include "' | sed -E 's/^([^:]*):#include "([^"]*)".*/\1 \2 include/' |
        grep -E '\.(h|cuh|inc) include$'
}

# circles FILE - the lines of FILE that lie on a circle: files that nothing leads to, or that lead nowhere, are taken away
# until none is left.
circles() {
    awk '{ line[NR] = $0; from[NR] = $1; to[NR] = $2; left[NR] = 1 } END {
        do {
            again = 0; delete has_out; delete has_in
            for (i in left) { has_out[from[i]] = 1; has_in[to[i]] = 1 }
            for (i in left) if (!(to[i] in has_out) || !(from[i] in has_in)) { delete left[i]; again = 1 }
        } while (again)
        for (i = 1; i <= NR; i++) if (i in left) print line[i]
    }' "$1"
}

# The control: a chain has no circle, three files in a ring have.
printf 'a b x\nb c y\nc d z\n' >"$work/chain"
printf 'a b x\nb c y\nc a z\nc d w\n' >"$work/ring"
if [ -n "$(circles "$work/chain")" ] || [ "$(circles "$work/ring" | wc -l)" != 3 ]; then
    echo "control: a ring of three files is not told from a chain"
    exit 1
fi
[ -f "$out/kernels/error.c.o" ] || {
    echo "'$out' is not built"
    exit 77
}
status=0
folders=("$out")
[ -f "$simt_out/kernels/cuda/table.c.o" ] && folders+=("$simt_out")
calls "${folders[@]}" | sort -u | awk -v allowed="$allowed" '!($1 ~ allowed && $2 ~ allowed)' >"$work/calls"
[ "$(wc -l <"$work/calls")" -ge 500 ] || {
    echo "only $(wc -l <"$work/calls") calls between files were found in '${folders[*]}'"
    exit 1
}
includes >"$work/includes"
for kind in calls includes; do
    circles "$work/$kind" >"$work/found"
    [ -s "$work/found" ] || continue
    echo "files in a circle by their $kind (move what both need to a file of its own):"
    sed 's/^/    /' "$work/found"
    status=1
done
exit $status
