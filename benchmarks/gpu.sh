#!/bin/sh
# The rows of the table that need a GPU, in under 10 minutes, on a machine with PyTorch and no network.
#
#     benchmarks/gpu.sh [WHEELS]
#
# WHEELS is a folder of wheels: of what EchoSweep needs and the machine lacks (pydantic, ...), and of
# the peers that benchmarks/peers.py names. A row without its peer says so. The table is printed and
# kept in bench-gpu/.
set -eu
cd "$(dirname "$0")/.."
[ -z "${1:-}" ] || export PIP_FIND_LINKS="$(realpath "$1")"
export PIP_NO_INDEX=1 PYTHONPATH="src:.gpu/site" PYTHONUNBUFFERED=1
PYTHON=${PYTHON:-python3}

for package in torch numpy pillow pydantic safetensors; do
    "$PYTHON" -m pip show --quiet "$package" 2>/dev/null ||
        "$PYTHON" -m pip install --quiet --target .gpu/site "$package" ||
        { echo "gpu.sh: $package is lacking; give a folder with its wheel" >&2; exit 1; }
done

# Whatever is slow is given up, so that the table comes in time.
timeout --signal=INT 590 "$PYTHON" benchmarks/bench.py \
    gpu.sampling gpu.training gpu.guiding gpu.features gpu.sampling_compiled gpu.training_compiled \
    --pairs 3 --threads 4 --limit 200 --peers .gpu --out bench-gpu ||
    { cat bench-gpu/bench.md; exit 1; }
