#!/bin/sh
# scenario_offline.sh - the program opens no network socket: the commands without MPI are watched with strace, and a
# training run started alone works in a namespace without any network.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario offline

# traced COMMAND... - which network calls it and its children make go to $work/trace.
traced() {
    strace -f -qq -e trace=socket,connect,bind -o "$work/trace" "$@" >"$log" 2>&1
}

opened_network() {
    grep -Eq 'AF_INET|AF_INET6|AF_PACKET|AF_NETLINK' "$work/trace"
}

# stays_offline COMMAND... - works, and opens no network socket.
stays_offline() {
    traced "$@" || fail "'$*' under strace: exit code $?"
    if opened_network; then
        fail "'$*' opened a network socket: $(grep -E 'AF_' "$work/trace" | head -n 3)"
    fi
    say "no network socket: $2"
}

train_alone() {
    train 0 0 "$work/run" --set train.steps=2
}

if command -v strace >/dev/null 2>&1 && traced true; then
    # The control: a program that opens a socket is noticed.
    traced bash -c 'exec 3<>/dev/tcp/127.0.0.1/9'
    opened_network || fail "a program that opens a socket was not noticed: $(cat "$work/trace")"
    stays_offline "$atelier" prepare "$tiny" --set "prepare.output=$work/fiches.h5"
    train_alone
    model=$work/run/step-000002
    stays_offline "$atelier" eval "$model" --data "$work/fiches-valid.h5"
    stays_offline "$atelier" generate "$model" --prompt "La carte" --max-tokens 5
    stays_offline "$atelier" export "$model" --to gguf --type f16 --out "$work/model.gguf"
    stays_offline "$atelier" export "$model" --to hf --type bf16 --out "$work/hf"
    stays_offline "$atelier" inspect "$model" --verify
    # A training run may open what MPI needs, and nothing else: hwloc's GL plug-in would look for X servers.
    for display in :0 localhost:10.0; do
        rm -rf "$work/run"
        traced env DISPLAY=$display "$atelier" train "$tiny" --set "run.folder=$work/run" --set train.steps=1 \
            --set "data.train=$work/fiches.h5" || fail "train under strace: exit code $?"
        if grep -Eq 'X11-unix|sin_port=htons\(60[0-9][0-9]\)|AF_PACKET' "$work/trace"; then
            fail "train connects to an X server: $(grep -E 'X11|60[0-9][0-9]' "$work/trace" | head -n 3)"
        fi
        if grep -E 'connect\(' "$work/trace" | grep -Eq 'AF_INET'; then
            fail "train alone connects to somebody: $(grep -E 'connect\(.*AF_INET' "$work/trace" | head -n 3)"
        fi
    done
    say "train alone connects to nobody, with a DISPLAY as without"
    # The control: the user's own choice is kept, and with the plug-in the X server is looked for (where it is installed).
    rm -rf "$work/run"
    traced env DISPLAY=:0 HWLOC_COMPONENTS=gl "$atelier" train "$tiny" --set "run.folder=$work/run" --set train.steps=1 \
        --set "data.train=$work/fiches.h5"
    if grep -q 'X11-unix' "$work/trace"; then
        say "with hwloc's GL plug-in it would"
    fi
else
    prepare_sample
    reason="strace is missing or not allowed: sockets were not watched"
fi

without_network=
for way in "unshare -n" "unshare -rn"; do
    if $way true 2>/dev/null; then
        without_network=$way
        break
    fi
done
if [ -n "$without_network" ]; then
    # The control: there is no way out of it.
    $without_network bash -c 'exec 3<>/dev/tcp/127.0.0.1/9' 2>&1 | grep -q 'unreachable' ||
        fail "'$without_network' still has a network"
    rm -rf "$work/run"
    # shellcheck disable=SC2086
    run 0 $without_network "$atelier" train "$tiny" --set "run.folder=$work/run" --set "data.train=$work/fiches.h5" \
        --set train.steps=2
    expect "steps without a network" 2 "$(last_step "$work/run")"
    say "a training run works without any network"
else
    reason="${reason:-}${reason:+; }namespaces are not allowed: no run without a network"
fi
[ -z "${reason:-}" ] || skip "$reason"
