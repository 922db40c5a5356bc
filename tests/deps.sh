#!/bin/sh
# deps.sh - list the packages that are missing and install them (Debian, Ubuntu); does nothing when all are there
packages="gcc make pkg-config libopenmpi-dev openmpi-bin libhdf5-dev libyaml-dev libdnnl-dev libjansson-dev
libpcre2-dev libutf8proc-dev libzstd-dev zlib1g-dev libxxhash-dev libcmocka-dev universal-ctags zstd"

# What the build asks for, whichever way it came here (packages, modules of a cluster, a hand-made tree).
have_header() { printf '#include <%s>\n' "$1" | "${CC:-cc}" -E -x c - >/dev/null 2>&1; }
have_all() {
    for tool in make pkg-config mpicc mpirun ctags zstd; do
        command -v $tool >/dev/null 2>&1 || return 1
    done
    for library in yaml-0.1 jansson libpcre2-8 libutf8proc libzstd zlib libxxhash; do
        pkg-config --exists $library 2>/dev/null || return 1
    done
    pkg-config --exists hdf5-serial 2>/dev/null || pkg-config --exists hdf5 2>/dev/null ||
        pkg-config --exists hdf5-openmpi 2>/dev/null || return 1
    have_header dnnl.h && have_header cmocka.h
}
have_all && exit 0

if ! command -v dpkg >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    echo "This is neither Debian nor Ubuntu.  Install the equivalents of these packages, or load the modules of your" >&2
    echo "cluster that provide them, then run make again:" >&2
    printf '%s\n' "$packages" | sed 's/^/    /' >&2
    exit 1
fi
missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "All packages are installed, and yet a tool or a header is not found: look at PATH, CC and PKG_CONFIG_PATH." >&2
    exit 1
fi
echo "installing:$missing"
if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1; then
    as_root="sudo -n" # never asks: fails where a password would be needed
else
    as_root=none
fi
# shellcheck disable=SC2086
if [ "$as_root" = none ] || ! { [ -z "$as_root" ] || $as_root true 2>/dev/null; }; then
    echo "Installing packages needs root.  Run this as root, then make again:" >&2
    echo "    apt-get install$missing" >&2
    exit 1
fi
# shellcheck disable=SC2086
{
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing
}
