"""What the first page would wait for, done while the browser loads: imports, catalogue, calibration, one answer."""

from __future__ import annotations

import gc
import logging

from llmsizer.errors import LlmSizerError


def up() -> None:
    """Answer the usual question once. A mistake here is the page's to tell."""
    try:
        from cached import answers, following
        from question import inputs

        following.follow()
        answers.first(inputs.usual_scenario())
        answers.answer(inputs.usual_scenario())
    except LlmSizerError as error:
        logging.getLogger(__name__).info("not warmed up: %s", error)
    import pandas  # noqa: F401  # tables and charts are sent by way of them
    import plotly.io  # noqa: F401

    gc.freeze()  # modules and the catalogue live as long as the server: no collection has to walk them again
