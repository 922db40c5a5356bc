#!/bin/sh
# check_deps.sh - what 'make deps' says on a machine whose packages it cannot install: stand-ins for dnf and rpm on a PATH
# that has no dpkg, no compiler and no library.
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
for tool in sh sed uname cat id; do
    ln -s "$(command -v $tool)" "$work/bin/$tool"
done
fail() {
    echo "$1; the output:"
    sed 's/^/    /' "$work/log"
    exit 1
}
deps() { # TITLE - it must end with 1
    env -i PATH="$work/bin" sh "$here/deps.sh" >"$work/log" 2>&1
    test $? -eq 1 || fail "$1: deps.sh should end with 1"
}
says() { grep -q -- "$1" "$work/log" || fail "expected '$1'"; }
does_not_say() { ! grep -q -- "$1" "$work/log" || fail "did not expect '$1'"; }
red_hat() { # RELEASE
    printf '#!/bin/sh\nexit 1\n' >"$work/bin/dnf"
    printf '#!/bin/sh\necho %s\n' "$1" >"$work/bin/rpm"
    chmod +x "$work/bin/dnf" "$work/bin/rpm"
}

deps "a machine without dpkg and dnf" # the control: Debian's names
says "^    libopenmpi-dev$"
says "^    g++$"
does_not_say "dnf"
for release in 8 9; do
    red_hat $release
    deps "RHEL $release"
    says "^    dnf install epel-release"
    says "codeready-builder-for-rhel-$release-"
    says "^    dnf install gcc gcc-c++ make pkgconf-pkg-config openmpi-devel openmpi hdf5-devel libyaml-devel jansson-devel"
    says "intel-oneapi-dnnl-devel"
    does_not_say "lib[a-z]*-dev$"
done
says "set-enabled crb"
red_hat 8
deps "RHEL 8"
says "set-enabled powertools"
red_hat ""
deps "Fedora"
says "^    dnf install gcc gcc-c++"
does_not_say "epel-release"
