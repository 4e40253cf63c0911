"""From a Hugging Face config.json to a ModelSpec: exact geometry, or one line that says what is wrong."""

from llmsizer.facts.architecture.reading import model_from_config, native_precision

__all__ = ["model_from_config", "native_precision"]
