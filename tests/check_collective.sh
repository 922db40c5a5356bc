#!/bin/sh
# check_collective.sh - a function of a header communicates only if it takes a struct comm or a struct transport, or a
# struct of a run that holds them (axes, params, rank_device, saving, trainer), and it says so: what is marked "Collective" takes one, and
# what takes a comm or a transport tells whether it is collective.  Files whose first comment says that of all calls
# (comm.h, transport.h, shard.h) need not repeat it.
cd "$(dirname "$0")/.." || exit 1

# of_headers - reads headers, prints what breaks the rule.  A comment belongs to the declarations up to the next empty line;
# "Collective." closes the names ("name - ") that came before it in the comment.
of_headers() {
    awk '
    function finish_block(   n, i, parts, names, num_names, name, rest, text) {
        if (declared == "")
            return
        # Which of the names are marked.
        split("", marked); split("", denied); num_names = 0
        rest = comment
        while (match(rest, /[a-z][a-z0-9_]* - |[Cc]ollective/)) {
            text = substr(rest, RSTART, RLENGTH)
            before = substr(rest, 1, RSTART - 1)
            if (text ~ / - $/) {
                names[++num_names] = substr(text, 1, length(text) - 3)
            } else if (before ~ /[Nn](ot|one is) $/ || before ~ /[Nn]ot$/) {
                if (num_names > 0) { denied[names[num_names]] = 1; num_names-- }
            } else if (text == "Collective") {
                for (i = 1; i <= num_names; i++)
                    marked[names[i]] = 1
                num_names = 0
            }
            rest = substr(rest, RSTART + RLENGTH)
        }
        n = split(declared, parts, ";")
        for (i = 1; i <= n; i++) {
            if (!match(parts[i], /[a-z][a-z0-9_]*\(/))
                continue
            name = substr(parts[i], RSTART, RLENGTH - 1)
            rest = substr(parts[i], RSTART + RLENGTH)
            takes = rest ~ /struct (comm|transport|axes|rank_device|params|saving|trainer) \*/
            gsub(/const struct (comm|transport) \*/, "", rest)
            if (marked[name] && !takes)
                print file ": " name " is marked Collective and takes no comm, no transport and nothing that holds one"
            if (!all_are && rest ~ /struct (comm|transport) \*/ && comment !~ /[Cc]ollective/)
                print file ": " name " takes a comm or a transport and does not say whether it is collective"
        }
    }
    FNR == 1 { finish_block(); file = FILENAME; comment = declared = ""; all_are = 0; is_first = 1; open = 0 }
    /^\/\*/ { open = 1; if (declared != "") { finish_block(); comment = declared = "" } }
    open {
        line = $0
        gsub(/^ *\/?\*+\/?|\*\/.*$/, "", line)
        comment = comment " " line
        if ($0 ~ /\*\//) {
            open = 0
            gsub(/  +/, " ", comment)
            if (is_first) { all_are = comment ~ /([Ee]very call|[Aa]ll calls|every rank of it must call)/; is_first = 0; comment = "" }
        }
        next
    }
    /^$/ { finish_block(); comment = declared = ""; next }
    /^[#}]/ { next }
    { line = $0; sub(/\/\*.*\*\//, "", line); declared = declared " " line }
    END { finish_block() }
    ' "$@"
}

list=$(mktemp)
find train slurm checkpoints -name '*.h' -print >"$list"
trap 'rm -rf "$list" "$trial"' EXIT
# shellcheck disable=SC2046
found=$(of_headers $(cat "$list"))
[ -z "$found" ] || {
    printf '%s\n' "$found"
    exit 1
}

# Controls: each mistake is found, and what is right is not.
trial=$(mktemp -d)
cat >"$trial/bad.h" <<'END'
/* bad.h - a header. */

/* bad_ask - what all agree on.  Collective. */
int bad_ask(struct bad *bad, double seconds);

/* bad_tell - to the others. */
void bad_tell(struct bad *bad, struct comm *comm);

/* good_ask - what all agree on.  Collective.  good_read - of this rank.
 * good_note - for others to read.  Not collective. */
int good_ask(struct good *good, struct comm *comm);
int good_read(const struct good *good);
void good_note(struct good *good, struct transport *link);
END
found=$(of_headers "$trial/bad.h")
case $(printf '%s\n' "$found" | grep -c .):$found in
2:*"bad_ask is marked"*"bad_tell takes"*) ;;
*)
    echo "the check itself does not see what it should; it said:"
    printf '%s\n' "$found"
    exit 1
    ;;
esac
