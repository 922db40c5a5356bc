#!/bin/sh
# install.sh PROGRAM - put a built program where a system looks for it; 'make install' calls it.
#   PROGRAM   build/cuda/atelier or build/cpu/atelier
#   PREFIX    /usr/local; DESTDIR: a folder in which PREFIX is made, for packages
# bin/atelier; share/atelier: run files, sites' profiles and the sample, which is a folder to try 'atelier' in; manual pages;
# completion for bash and zsh; README, changes and licence.
set -eu
cd "$(dirname "$0")/../.."
program=${1:?usage: install.sh PROGRAM}
prefix=${PREFIX:-/usr/local}
case $prefix in
/*) ;;
*)
    echo "install: PREFIX is '$prefix'; it has to begin with /" >&2
    exit 2
    ;;
esac
root=${DESTDIR:-}$prefix
share=$root/share

# put MODE FILE PLACE - one file with what it needs above it; over a file that is in use.
put() {
    install -D -m "$1" "$2" "$3"
}
# made PLACE WORD... - what the program prints for these words.
made() {
    place=$1
    shift
    mkdir -p "$(dirname "$place")"
    "$program" "$@" >"$place"
    chmod 644 "$place"
}

put 755 "$program" "$root/bin/atelier"
find configs data/sample slurm/sites -name '*.yaml' -o -path 'data/sample/*' -type f | while read -r file; do
    put 644 "$file" "$share/atelier/$file"
done
made "$share/man/man1/atelier.1" help --as man
made "$share/man/man5/atelier.yaml.5" help config --as man
made "$share/bash-completion/completions/atelier" help --as bash
made "$share/zsh/site-functions/_atelier" help --as zsh
for file in README.md README.fr.md CHANGELOG.md LICENSE; do put 644 "$file" "$share/doc/atelier/$file"; done

echo "installed $root/bin/atelier ($program); run files and a sample in $share/atelier"
[ -n "${DESTDIR:-}" ] || case :$PATH: in
*:"$root/bin":*) ;;
*) echo "'$root/bin' is not on the PATH: export PATH=\"$root/bin:\$PATH\"" ;;
esac
