"""How many distinct experts of a mixture a batch of tokens reaches, which is what a step reads of them.

A few experts are picked about evenly: routers of eight are trained to balance. Among many small ones some are picked
far more often than others, and tokens that stand together pick alike, so a batch reaches fewer than even picks would.
How often is taken as a power law of the expert's rank. Its exponent is where a batch of 16 tokens reaches 62 of 128
experts (8 a token): public kernel timings under routing as skewed as their authors take it to be take as long as 56 to
66 experts do under even routing (aiconfigurator, vLLM 0.24 on H100 and H200); even picks would reach 82.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FEWEST_UNEVEN_EXPERTS = 32  # routers of fewer spread tokens about evenly
POPULARITY_EXPONENT = 0.8

Floats = NDArray[np.float64]

_LOG_TOKENS = np.arange(-180, 241) * (np.log(10.0) / 20)  # from 10^-9 of a token to 10^12; one token among them


def experts_touched(experts: int, per_token: int, tokens: Floats) -> Floats:
    """Distinct experts that ``tokens`` tokens reach, each picking ``per_token`` of ``experts``: Σ 1 − (1 − qᵢ)^tokens.

    One token reaches ``per_token``; more tokens never reach fewer. Of fewer than ``FEWEST_UNEVEN_EXPERTS`` every qᵢ is
    k/E; of more a table is read between its points (error below 0.1 %).
    """
    if experts < FEWEST_UNEVEN_EXPERTS or per_token >= experts:
        return np.asarray(experts * (1.0 - (1.0 - per_token / experts) ** tokens))
    with np.errstate(divide="ignore"):
        return np.asarray(np.exp(np.interp(np.log(tokens), _LOG_TOKENS, _log_touched(experts, per_token))))


def pick_chances(experts: int, per_token: int) -> Floats:
    """The chance that a token picks each expert, the most popular first; they sum to ``per_token``, none above 1."""
    chances = np.arange(1, experts + 1, dtype=np.float64) ** -POPULARITY_EXPONENT
    certain = 0
    while True:  # what the most popular cannot take goes to the others
        rest = chances[certain:]
        scaled = rest * ((per_token - certain) / rest.sum())
        if scaled[0] <= 1.0:
            return np.concatenate([np.ones(certain), scaled])
        certain += int((scaled >= 1.0).sum())


@lru_cache(maxsize=256)
def _log_touched(experts: int, per_token: int) -> Floats:
    chances = pick_chances(experts, per_token)
    return np.asarray(np.log((1.0 - (1.0 - chances) ** np.exp(_LOG_TOKENS)[:, None]).sum(axis=1)))
