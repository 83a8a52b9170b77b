"""What all tests share."""

import pytest

from ludus import evaluate


@pytest.fixture(autouse=True)
def unjudged(request, monkeypatch):
    """A run is not evaluated when it ends, which takes seconds, but in tests that are marked `judged`."""
    if "judged" not in request.keywords:
        monkeypatch.setattr(evaluate, "at_end", lambda run, data, mode="quick": None)
