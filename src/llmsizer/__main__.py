"""``python -m llmsizer``."""

import sys

from llmsizer.cli import main

sys.exit(main())
