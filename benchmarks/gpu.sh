#!/usr/bin/env bash
# Everything that is to be known of scoring on a GPU, in one command: benchmarks/gpu.sh [--out DIR]
# `benchmarks/gpu.sh --tiny` runs the same at sizes of nothing, on whatever device is there.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python}" -m benchmarks.gpu "$@"
