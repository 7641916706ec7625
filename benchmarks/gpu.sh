#!/usr/bin/env bash
# Everything that is to be measured on a GPU, most important first: benchmarks/gpu.sh [--out DIR] [--parts=…] [--rounds N]
# `benchmarks/gpu.sh --tiny` runs all of it at tiny sizes on whatever device is there.
#
# It needs no network. Beside jax[cuda12], flax and optax it imports what pip installs for this package; fetch the wheels
# where there is a network, and install them on the GPU machine:
#     pip download --dest wheels 'jax[cuda12]' -r requirements.lock        # and torch, transformers for PyTorch's rows
#     pip install --no-index --find-links wheels 'jax[cuda12]' -r requirements.lock && pip install --no-deps -e .
set -euo pipefail
cd "$(dirname "$0")/.."
# PyTorch runs beside it, so jax takes memory as it needs it.
export XLA_PYTHON_CLIENT_PREALLOCATE=${XLA_PYTHON_CLIENT_PREALLOCATE:-false}
# A program that two parts need is compiled once.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$(mktemp -d)}
exec "${PYTHON:-python}" -m benchmarks.gpu "$@"
