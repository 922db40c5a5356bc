#!/bin/sh
# deb.sh PROGRAM VERSION - build/atelier_VERSION_ARCH.deb of a built program, for the Debian or Ubuntu that it was built on;
# 'make package' calls it.  What it depends on is asked of the system, library by library.
# PACKAGE_OUT: where it goes (build).  MAINTAINER: "NAME <ADDRESS>" of who builds it; git's user otherwise.
set -eu
cd "$(dirname "$0")/../.."
program=${1:?usage: deb.sh PROGRAM VERSION}
version=${2:?usage: deb.sh PROGRAM VERSION}
out=${PACKAGE_OUT:-build}
for tool in dpkg-deb dpkg-shlibdeps; do
    command -v $tool >/dev/null || {
        echo "package: $tool is not here: apt-get install dpkg-dev (packages are made on Debian and Ubuntu)" >&2
        exit 1
    }
done
architecture=$(dpkg --print-architecture)
maintainer=${MAINTAINER:-$(git config user.name 2>/dev/null || id -un) <$(git config user.email 2>/dev/null || echo "$(id -un)@$(hostname)")>}
stage=$out/package/atelier
rm -rf "$out/package"
mkdir -p "$stage/DEBIAN" "$out/package/debian"

DESTDIR=$stage PREFIX=/usr slurm/package/install.sh "$program" >/dev/null
strip --strip-unneeded "$stage/usr/bin/atelier"
gzip -9n "$stage"/usr/share/man/man*/*
gzip -9n "$stage/usr/share/doc/atelier/CHANGELOG.md"
rm "$stage/usr/share/doc/atelier/LICENSE" # Debian has it
cat >"$stage/usr/share/doc/atelier/copyright" <<'END'
Copyright: the authors of atelier
License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.
END
made=$(date -R -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}")
printf 'atelier (%s) unstable; urgency=medium\n\n  * As /usr/share/doc/atelier/CHANGELOG.md.gz says.\n\n -- %s  %s\n' \
    "$version" "$maintainer" "$made" | gzip -9n >"$stage/usr/share/doc/atelier/changelog.gz"
mkdir -p "$stage/usr/share/zsh/vendor-completions"
mv "$stage/usr/share/zsh/site-functions/_atelier" "$stage/usr/share/zsh/vendor-completions/"
rmdir "$stage/usr/share/zsh/site-functions"

# Libraries that no package has (of a CUDA toolkit unpacked by hand) are left to the site, and named.
echo "Source: atelier" >"$out/package/debian/control"
depends=$(cd "$out/package" && dpkg-shlibdeps -O --ignore-missing-info "-eatelier/usr/bin/atelier" 2>shlibdeps.log |
    sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || {
    cat "$out/package/shlibdeps.log" >&2
    exit 1
}
sed -n 's/.*\(lib[^ ]*\): no such file.*/package: \1 belongs to no package: left to the site/p;
    s/.*no dependency information found for \([^ ]*\).*/package: \1 belongs to no package: left to the site/p' \
    "$out/package/shlibdeps.log" >&2
cat >"$stage/DEBIAN/control" <<END
Package: atelier
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(du -sk "$stage" | cut -f1)
Depends: $depends, openmpi-bin
Section: science
Priority: optional
Description: trains and fine-tunes language models on MPI ranks
 A distributed training and fine-tuning launcher for supercomputers under
 Slurm, and for a laptop's processors with the same run file.  What it writes
 is what others load: Hugging Face folders, GGUF files, LoRA adapters.
END
(cd "$stage" && find usr -type f -exec md5sum {} +) >"$stage/DEBIAN/md5sums"
find "$stage" -type d -exec chmod 755 {} +
package=$out/atelier_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$stage" "$package" >/dev/null
echo "package: $package ($(du -h "$package" | cut -f1)); depends on: $depends, openmpi-bin"
