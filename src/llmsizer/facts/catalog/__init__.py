"""Everything under ``profiles/``: read, checked, brought up to date, and changed by the user's own values."""

from llmsizer.facts.catalog.catalog import Catalog, default_catalog, load_catalog, offer_id

__all__ = ["Catalog", "default_catalog", "load_catalog", "offer_id"]
