#!/bin/sh
# Install a CPU build of torch into the environment of the given python, without pulling gigabytes of CUDA.
# On Linux, PyPI's own torch wheel is the CUDA one, so a "+cpu" build is looked for first.
set -eu
python="$1"
want="${TORCH:-torch==2.13.0}"
echo "· installing $want (CPU build)"
pip() { "$python" -m pip install -q --disable-pip-version-check "$@"; }
case "$(uname -s)-$want" in
  Linux-torch==*)
    pip "${want}+cpu" 2>/dev/null && exit 0
    pip "${want}+cpu" --extra-index-url https://download.pytorch.org/whl/cpu && exit 0
    echo "no CPU build of $want was found; set TORCH=torch to take the default build" >&2
    exit 1 ;;
  *) pip "$want" ;;
esac
