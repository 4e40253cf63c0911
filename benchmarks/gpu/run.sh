#!/bin/sh
# One call of the campaign: run.sh STAGE [arguments]. Stages: machine grid concurrency serving quantizing gptq.
# WHEELS: a folder with wheels to install first, for machines without a network (parts made by wheels.py are joined).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
site=${SITE:-/tmp/llmsizer-site}
if [ -n "${WHEELS:-}" ]; then
  "$python" "$here/wheels.py" join "$WHEELS" --into "$site-wheels"
  for wheel in "$WHEELS"/*.whl "$site-wheels"/*.whl; do
    [ -e "$wheel" ] && "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" --upgrade "$wheel"
  done
fi
stage=$1
shift
export PATH="$site/bin:$PATH"
export PYTHONPATH="$here/../../src:$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 CUDA_DEVICE_ORDER=PCI_BUS_ID
exec "$python" "$here/$stage.py" "$@"
