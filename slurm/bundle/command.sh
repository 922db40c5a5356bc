#!/bin/sh
# A command of the bundle: finds where the bundle lies, then libexec/start.sh does what is asked under this name.
self=$(readlink -f "$0" 2>/dev/null) || self=$0
root=${self%/*}/..
root=$(cd "$root" && pwd -P) || exit 1
# shellcheck source=slurm/bundle/start.sh
. "$root/libexec/start.sh"
