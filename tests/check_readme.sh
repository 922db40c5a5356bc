#!/bin/sh
# check_readme.sh - README.fr.md says what README.md says: the same headings (number, level, order), and in each section
# the same commands, the same words in `code`, the same links, as many list items and rows of tables.  The wording of
# a heading or a sentence is free.  And both name only configuration keys and commands that the program has.
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
fail() {
    echo "$*"
    exit 1
}

# structure FILE - one line for each thing to compare, with the number of its section in front, sorted.
# A command is a line of an indented block up to its comment (two spaces); a name of file or model is part of it.
structure() {
    awk '
        function tell(kind, text) { printf "%02d %s %s\n", section, kind, text }
        function spans(text,    parts, n, i) {
            gsub(/\(README(\.fr)?\.md\)/, "(the other)", text) # each points to the other
            gsub(/\[README(\.fr)?\.md\]/, "", text)
            n = split(text, parts, "`")
            for (i = 2; i <= n; i += 2) {
                gsub(/ +/, " ", parts[i])
                tell("word", parts[i])
            }
            while (match(text, /\]\([^)]*\)/)) {
                tell("link", substr(text, RSTART + 2, RLENGTH - 3))
                text = substr(text, RSTART + RLENGTH)
            }
        }
        function close_paragraph() {
            spans(paragraph)
            paragraph = ""
        }
        function close_section() {
            close_paragraph()
            tell("items", items)
            tell("rows", rows)
            items = rows = 0
        }
        /^#+ / {
            close_section()
            section++
            tell("heading", $1)
            spans($0)
            in_block = 0
            next
        }
        /^ *$/ { close_paragraph(); blank = 1; next }
        /^    / && (blank || in_block) {
            in_block = 1
            line = substr($0, 5)
            sub(/  .*/, "", line)
            if (line ~ /^(atelier|make|mpirun|srun|export|apt-get|git|module|sbatch)( |$)/) tell("command", line)
            next
        }
        { in_block = blank = 0 }
        /^\|/ { rows++; spans($0); next }
        /^(- |[0-9]+\. )/ { close_paragraph(); items++ }
        { sub(/^ +/, ""); paragraph = paragraph " " $0 }
        END { close_section() }' "$1" | sort -u
}

# differences FRENCH - in words; nothing where the two agree.
differences() {
    structure README.md >"$work/english"
    structure "$1" >"$work/french"
    diff "$work/english" "$work/french" | sed -n 's/^< /only in README.md, section /p; s/^> /only in README.fr.md, section /p'
}

found=$(differences README.fr.md)
[ -z "$found" ] || {
    echo "$found"
    fail "README.fr.md and README.md must have the same headings, commands, words in code and links: change them together"
}
[ "$(grep -c '^..  *heading' "$work/english")" -ge 10 ] || fail "README.md was not understood: it has more than 10 headings"
[ "$(grep -c '^.. command' "$work/english")" -ge 20 ] || fail "README.md was not understood: it has more than 20 commands"

# The control: each kind of change to one of them is seen.
changed() { # WHAT SED-SCRIPT
    sed "$2" README.fr.md >"$work/changed.md"
    ! cmp -s README.fr.md "$work/changed.md" || fail "control: '$2' changes nothing"
    [ -n "$(differences "$work/changed.md")" ] || fail "control: $1 was not seen"
}
changed "a heading left out" '0,/^### /{/^### /d}'
changed "a heading of another level" '0,/^### /s/^### /## /'
changed "a command left out" '/^    atelier doctor --site/d'
changed "a command with another option" 's/^    atelier submit run.yaml --dry-run/    atelier submit run.yaml/'
changed "another key" 's/run[.]gemm_choices/run.gem_choices/'
changed "a link left out" 's/(slurm\/README.md)/(slurm)/'
changed "a list item left out" '0,/^- /{/^- /d}'

# What they name exists.
atelier=${OUT:-build/cpu}/atelier
[ -x "$atelier" ] || {
    echo "'$atelier' is not built: the keys and commands named were not looked up"
    exit 77
}
"$atelier" help config >"$work/help" 2>&1 || fail "'$atelier help config' failed"
awk '/^[a-z.]+:$/ { section = $1; sub(/:$/, "", section); print section; next }
     /^  [a-z]/ && section { print section "." $1 }' "$work/help" | sort -u >"$work/keys"
[ "$(wc -l <"$work/keys")" -ge 50 ] || fail "'$atelier help config' was not understood"
sed 's/\..*//' "$work/keys" | sort -u >"$work/sections"
unknown_keys() {
    sed -n 's/^.. word \([a-z]*\.[a-z_.]*\)\(: .*\|\)$/\1/p' "$1" | sort -u | while read -r key; do
        case $key in *.yaml | *.json | *.c | *.h | *.cu | *.sh) continue ;; esac
        grep -qx "${key%%.*}" "$work/sections" || continue # something else with a point in it
        grep -qxF -- "$key" "$work/keys" || echo "$key"
    done
}
"$atelier" help | sed -n 's/^  atelier \([a-z]*\) .*/\1/p' | sort -u >"$work/commands"
[ "$(wc -l <"$work/commands")" -ge 10 ] || fail "'$atelier help' was not understood"
unknown_commands() {
    sed -n 's/^.. \(word\|command\) \(.* \|\)atelier \([a-z][a-z]*\).*/\3/p' "$1" | sort -u | while read -r command; do
        grep -qx -- "$command" "$work/commands" || echo "$command"
    done
}
found="$(unknown_keys "$work/english")$(unknown_commands "$work/english")"
[ -z "$found" ] || fail "README.md names keys or commands that '$atelier help' does not: $found"
printf '01 word train.stepps: 3\n01 command mpirun -n 2 atelier trian run.yaml\n' >"$work/misspelt"
[ -n "$(unknown_keys "$work/misspelt")" ] || fail "control: a key that does not exist was not seen"
[ -n "$(unknown_commands "$work/misspelt")" ] || fail "control: a command that does not exist was not seen"
