"""Parameters of an image encoder beside a text model: loaded and resident, though no text token passes it."""

from __future__ import annotations

from collections.abc import Mapping

from llmsizer.facts.architecture.config_values import ConfigValues

_PIXTRAL_DEFAULTS = {"hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096, "patch_size": 16}
_SIGLIP_DEFAULTS = {"hidden_size": 1152, "num_hidden_layers": 27, "intermediate_size": 4304, "patch_size": 14}
_CLIP_DEFAULTS = {"hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096, "patch_size": 14}


def tower_params(config: Mapping[str, object], text_hidden_size: int, where: str) -> int:
    """Parameters of the encoder and its projector by ``vision_config``; 0 where there is none.

    Pixtral's blocks are gated and have no biases, Qwen2.5-VL's are gated; the others are plain transformer blocks with
    biases. The projector is counted as two matrices (Gemma's as one, Qwen's over four merged patches); towers with
    unusual heads come out within a few per cent of the tower.
    """
    section = config.get("vision_config")
    if not isinstance(section, Mapping) or not section:
        return 0
    model_type = str(section.get("model_type", ""))
    pixtral = model_type == "pixtral"
    defaults = _PIXTRAL_DEFAULTS if pixtral else _SIGLIP_DEFAULTS if "siglip" in model_type else _CLIP_DEFAULTS
    values = ConfigValues(f"{where}, vision_config", section, defaults)
    qwen = model_type.startswith("qwen")
    hidden = values.integer("embed_dim", "hidden_size", "width")  # Qwen2-VL's hidden_size is the text model's
    layers = values.integer("num_hidden_layers", "depth", "layers")
    inner = values.optional_integer("intermediate_size") or 4 * hidden
    patch = values.integer("patch_size")
    matrices = 3 if pixtral or model_type == "qwen2_5_vl" else 2
    biases = 0 if pixtral else 5 * hidden + inner
    norms = (2 if pixtral else 4) * hidden
    block = 4 * hidden * hidden + matrices * hidden * inner + biases + norms
    positions = 0
    if not pixtral and values.has("image_size"):
        positions = (values.integer("image_size") // patch) ** 2 * hidden
    embedding = 3 * patch * patch * hidden + positions
    if "siglip" in model_type and str(config.get("model_type", "")).startswith("gemma3"):
        return layers * block + embedding + 3 * hidden + hidden * text_hidden_size
    if qwen:
        merged = 4 * hidden
        return layers * block + 2 * embedding + merged * merged + merged * text_hidden_size
    merge = ConfigValues(where, config, {}).optional_integer("spatial_merge_size") or 1
    merger = hidden * hidden * merge * merge if pixtral and merge > 1 else 0
    projector = hidden * text_hidden_size + text_hidden_size * text_hidden_size
    return layers * block + embedding + 2 * hidden + merger + projector
