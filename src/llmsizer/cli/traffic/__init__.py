"""A fleet under load: ``simulate``, ``capacity`` and ``sweep``."""
