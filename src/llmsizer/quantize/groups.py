"""Whether a recipe's groups divide the rows of the matrices that it is to quantize."""

from __future__ import annotations

from llmsizer.errors import QuantizationError
from llmsizer.quantize.recipes import Recipe
from llmsizer.quantize.stored.checkpoint import Checkpoint


def check_groups(checkpoint: Checkpoint, recipe: Recipe) -> None:
    """Raises QuantizationError where a matrix cannot be cut into the recipe's groups."""
    if recipe.group_size is None:
        return
    kept = (*recipe.kept_8bit, *recipe.kept_16bit)
    for tensor in checkpoint.matrices():
        if tensor.shape[1] % recipe.group_size and not any(name in tensor.name for name in kept):
            raise QuantizationError(
                f"{checkpoint.path}: {tensor.name} has rows of {tensor.shape[1]} weights, not divisible by the group "
                f"size {recipe.group_size} of {recipe.name}; an 8-bit method has no groups and would work"
            )
