#!/bin/sh
# look.sh - is there a GPU on this machine: asked before anything is compiled for one, which takes minutes.  Ends with 0, or 77 and
# one line.
if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU '; then exit 0; fi
for device in "${DEVICES:-/dev}"/nvidia[0-9]*; do # a machine without the tool
    if [ -e "$device" ]; then exit 0; fi
done
echo "no GPU: nvidia-smi lists none, and there is no /dev/nvidia0; on a cluster, start this in a job that has one"
exit 77
