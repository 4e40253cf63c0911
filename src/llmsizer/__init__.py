"""llmsizer: which hardware, which precision, own, rent or API — measured, calibrated and priced."""

from __future__ import annotations

__version__ = "0.1.0"
