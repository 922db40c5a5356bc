#!/bin/sh
# check_sha256.sh - SHA-256 by the portable code and by a processor's instructions against sha256sum: on this processor, and on an
# emulated ARMv8 where a cross compiler and qemu are installed (Debian: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user).
#   OUT=build/cpu   where tests/tool_sha256 is
set -eu
cd "$(dirname "$0")/.."
work=build/tmp/check_sha256
rm -rf "$work"
mkdir -p "$work"

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# texts - of every length around the ends of blocks, and a long one.
head -c 300000 data/sample/fiches.jsonl >"$work/long"
lengths="0 1 2 3 31 32 33 54 55 56 57 63 64 65 118 119 120 121 127 128 129 191 192 193 255 256 257 1000 4096 65537"
for length in $lengths; do
    head -c "$length" "$work/long" >"$work/text-$length"
done

# compare NAME WAY COMMAND... - every text, in pieces of 1, 7, 64 and 65536 bytes; the control: a text with one byte changed.
compare() {
    name=$1 way=$2 count=0
    shift 2
    for text in "$work"/text-* "$work/long"; do
        wanted=$(sha256sum <"$text" | cut -d ' ' -f 1)
        for piece in 1 7 64 65536; do
            got=$("$@" "$way" "$piece" <"$text") || fail "$name, $way: no digest of '$text'"
            [ "$got" = "$wanted" ] || fail "$name, $way, pieces of $piece bytes: '$text' is $got, sha256sum says $wanted"
            count=$((count + 1))
        done
    done
    { head -c 299999 "$work/long"; printf '\001'; } >"$work/changed"
    [ "$("$@" "$way" 64 <"$work/changed")" != "$wanted" ] || fail "$name, $way: a byte changed is not seen"
    echo "$name, $way: $count digests as sha256sum has them"
}

# has_instructions COMMAND... - 77 says that the processor has none.
has_instructions() {
    code=0
    "$@" processor 64 <"$work/text-3" >/dev/null || code=$?
    [ "$code" -eq 0 ] || [ "$code" -eq 77 ] || fail "'$*' ends with $code"
    return "$code"
}

tool=${OUT:-build/cpu}/tests/tool_sha256
compare "this processor" portable "$tool"
if has_instructions "$tool"; then
    compare "this processor" processor "$tool"
fi

cross=$(command -v aarch64-linux-gnu-gcc || true)
qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)
if [ -z "$cross" ] || [ -z "$qemu" ]; then
    echo "ARMv8: skipped, no aarch64-linux-gnu-gcc or no qemu-aarch64"
    exit 0
fi
"$cross" -std=gnu11 -O2 -Wall -Wextra -Werror -static -I. data/sha256*.c tests/tool_sha256.c -o "$work/tool_arm"
compare "ARMv8 (qemu)" portable "$qemu" "$work/tool_arm"
has_instructions "$qemu" "$work/tool_arm" || fail "the emulated ARMv8 has no instructions for SHA-256: nothing was compared"
compare "ARMv8 (qemu)" processor "$qemu" "$work/tool_arm"
# What was compared are the instructions: the portable build has none of them.
aarch64-linux-gnu-objdump -d "$work/tool_arm" >"$work/code"
grep -q 'sha256h2' "$work/code" || fail "the build for ARMv8 holds no sha256h2"
