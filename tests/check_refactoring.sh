#!/bin/sh
# check_refactoring.sh - a sample of the refactoring check: the bits that SUMS has (see refactoring/run.sh)
cd "$(dirname "$0")/.." || exit 1
exec tests/refactoring/run.sh --sample
