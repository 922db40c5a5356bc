#!/bin/sh
# check_demo.sh - configs/demo.sh from its first line to its last, with stand-ins for atelier and mpirun: the interrupted
# run must end with code 75, and the last line, typed into a shell, makes 'atelier' a command.  The demo itself takes
# minutes; 'make demo' runs it.
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
root="$work/it's here" # a path that needs its quotes
mkdir -p "$root/configs" "$root/build/cpu"
cp "$here"/configs/*.sh "$root/configs/"
fail() {
    echo "$1; the last output:"
    sed 's/^/    /' "$work/log"
    exit 1
}

# The stand-in of atelier: its first training tells steps until it is interrupted.
cat >"$root/build/cpu/atelier" <<'END'
#!/bin/sh
[ "$1" = train ] || exit 0
[ ! -e runs/again ] || exit 0
mkdir -p runs/demo && touch runs/again
trap 'exit ${CODE:-75}' USR1
for _ in $(seq 600); do
    echo '{"step": 1, "grad_norm": 1}' >>runs/demo/metrics.jsonl
    sleep 0.01
done
exit 1
END
cat >"$root/build/cpu/mpirun" <<'END'
#!/bin/sh
while [ "$1" != atelier ]; do shift || exit 2; done
exec "$@"
END
chmod +x "$root"/build/cpu/*

demo() { # CODE - of the interrupted run
    rm -rf "$root/runs"
    CODE=$1 OUT=build/cpu timeout 60 sh "$root/configs/demo.sh" >"$work/log" 2>&1
}
demo 75 || fail "the demo failed"
grep -q -- '--prompt "Pour renouveler [^"]*" --max-tokens' "$work/log" || fail "a command is shown without the quotes of its words"
last=$(tail -n 1 "$work/log")
found() { # LINE - the atelier that a new shell finds after it
    env -i PATH=/usr/bin:/bin sh -c "$1
command -v atelier"
}
[ "$(found "$last")" = "$root/build/cpu/atelier" ] || fail "after its last line, '$last', atelier is not found"

# The demo runs on processors: it waits for no compiler of GPU kernels, and asks for none of their libraries.
built() { # GOAL - what make would compile for it into an empty folder
    env -u MAKEFLAGS -u MFLAGS -u SAN make -n -C "$here" CUDA=1 NVCC="$work/nvcc" CUDA_HOME="$work" OUT="$work/none" \
        CUDA_OUT="$work/none-cuda" "$1" >"$work/log" 2>/dev/null || fail "make -n $1 failed"
    grep -o '[a-z/_]*main\.c$\|[a-z/_]*attention\.cu"' "$work/log" | sort -u | tr '\n' ' '
}
[ "$(built demo)" = "train/main.c " ] || fail "the demo compiles '$(built demo)'"

# Controls.
[ "$(built all)" = 'kernels/cuda/attention.cu" train/main.c ' ] || fail "control: all of it compiles '$(built all)'"
[ "$(found true)" != "$root/build/cpu/atelier" ] || fail "control: atelier is found without the line"
! demo 1 || fail "control: an interrupted run that failed was taken for well"
