#!/usr/bin/env bash
# check_install.sh - 'make install' and 'make package': what is installed works from where it is, manual pages are clean,
# completion offers what the tables say, and the definitions of containers name what the repository has.
# OUT: the folder of the build.
set -u
cd "$(dirname "$0")/.." || exit 1
program=${OUT:-build/cpu}/atelier
[ -x "$program" ] || {
    echo "'$program' is not built"
    exit 77
}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
status=0
complain() {
    echo "$*"
    status=1
}
# expect WHAT WANT GOT
expect() { [ "$2" = "$3" ] || complain "$1: '$3' where '$2' was expected"; }

# --- install ---
DESTDIR=$work/root PREFIX=/opt slurm/package/install.sh "$program" >"$work/log" || complain "install: $(cat "$work/log")"
installed=$work/root/opt/bin/atelier
[ -x "$installed" ] || complain "bin/atelier is not there"
expect "the installed program" "$("$program" --version)" "$("$installed" --version)"
(cd "$work/root/opt/share/atelier" && "$installed" prepare configs/demo.yaml --set prepare.output="$work/demo.h5" >"$work/log" 2>&1) ||
    complain "the sample cannot be prepared where it was installed: $(tail -n 1 "$work/log")"
(cd / && "$installed" plan "$work/root/opt/share/atelier/configs/jeanzay_h100_8b_lora.yaml" >"$work/log" 2>&1)
grep -q "no site profile" "$work/log" && complain "the profiles of sites are not found beside the program"
PREFIX=opt slurm/package/install.sh "$program" >"$work/log" 2>&1 && complain "a PREFIX that does not begin with / is taken"
for file in man/man1/atelier.1 man/man5/atelier.yaml.5 bash-completion/completions/atelier zsh/site-functions/_atelier \
    doc/atelier/README.md doc/atelier/README.fr.md doc/atelier/LICENSE; do
    [ -s "$work/root/opt/share/$file" ] || complain "share/$file is not there, or empty"
done

# --- manual pages ---
man=$work/root/opt/share/man
for command in $("$program" help | sed -n 's/^  atelier \([a-z]*\) .*/\1/p' | sort -u); do
    grep -qx ".SS $command" "$man/man1/atelier.1" || complain "atelier(1) has no part on '$command'"
done
grep -q '^learning_rate' "$man/man5/atelier.yaml.5" || complain "atelier.yaml(5) has no learning_rate"
grep -q '^A run file is YAML.*takes precedence' "$man/man5/atelier.yaml.5" || complain "atelier.yaml(5): a sentence is broken into lines"
grep -q '^free  *what is learnt' "$man/man5/atelier.yaml.5" || complain "atelier.yaml(5): a table's lines are joined"
if command -v groff >/dev/null; then
    warnings=$(groff -man -ww -Tutf8 "$man/man1/atelier.1" "$man/man5/atelier.yaml.5" 2>&1 >"$work/pages" | head -n 3)
    [ -z "$warnings" ] || complain "groff: $warnings"
    grep -q 'every key of a run file' "$work/pages" || complain "the pages as they are read lack their text"
    printf '.nonsense\n' | groff -man -ww -Tutf8 2>&1 >/dev/null | grep -q nonsense || complain "control: groff does not warn"
fi

# --- completion ---
# shellcheck source=/dev/null
. "$work/root/opt/share/bash-completion/completions/atelier"
# offers WORD... - what is offered for the last word.
offers() {
    COMP_WORDS=(atelier "$@") COMP_CWORD=$#
    _atelier_words
    echo "${COMPREPLY[*]}"
}
expect "completion of a command" "export" "$(offers exp)"
expect "completion of a choice" "hf" "$(offers export --to h)"
expect "completion of an option" "--temperature" "$(offers generate MODEL --te)"
expect "completion of a key" "optimizer.learning_rate=" "$(offers train c.yaml --set optimizer.le)"
expect "completion of what is not there" "" "$(offers train --no-such)"
case " $(offers help "") " in *" config "*) ;; *) complain "help does not offer 'config'" ;; esac
! "$program" help train --as bash >/dev/null 2>"$work/log" || complain "completion of one command is taken"
grep -q "one page holds all commands" "$work/log" || complain "its message: $(cat "$work/log")"
if command -v zsh >/dev/null; then
    zsh -n "$work/root/opt/share/zsh/site-functions/_atelier" || complain "zsh does not read its completion"
fi

# --- package ---
if command -v dpkg-shlibdeps >/dev/null; then
    PACKAGE_OUT=$work/package MAINTAINER='A Tester <root@localhost>' slurm/package/deb.sh "$program" 0.0.1 >"$work/log" 2>&1 ||
        complain "package: $(tail -n 3 "$work/log")"
    package=$(echo "$work"/package/*.deb)
    for library in libhdf5 libopenmpi libyaml openmpi-bin; do
        dpkg-deb -f "$package" Depends | grep -q "$library" || complain "the package does not depend on $library"
    done
    mkdir "$work/unpacked" && dpkg-deb -x "$package" "$work/unpacked"
    expect "the packaged program" "$("$program" --version)" "$("$work/unpacked/usr/bin/atelier" --version)"
    (cd "$work/unpacked" && dpkg-deb --ctrl-tarfile "$package" | tar -xO ./md5sums | md5sum --quiet -c) ||
        complain "the package's sums are not those of its files"
fi

# --- containers ---
for recipe in slurm/container/Containerfile slurm/container/atelier.def; do
    grep -q 'tests/deps.sh' "$recipe" || complain "$recipe does not install from the one list of packages"
done
while read -r place _; do
    [ -e "$place" ] || complain "atelier.def copies '$place', which is not there"
done < <(grep ' /source/' slurm/container/atelier.def)
while read -r place; do
    grep -q "^    $place /source/" slurm/container/atelier.def || complain "atelier.def does not copy '$place'"
done < <(git ls-files 2>/dev/null | sed 's|/.*||' | sort -u | grep -v '^\.' | grep -vx CONTRIBUTING.md)
if command -v hadolint >/dev/null; then
    hadolint slurm/container/Containerfile || complain "hadolint has something to say on the Containerfile"
fi
exit $status
