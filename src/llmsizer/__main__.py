"""``python -m llmsizer``."""

import sys

from llmsizer.cli import run

sys.exit(run())
