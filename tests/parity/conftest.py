"""Models are built, and explained by us, once for all peers."""

from collections.abc import Callable
from functools import cache

import pytest
from cases import Case, build_case
from PIL import Image

import pellucid


@pytest.fixture(scope="session")
def case(lite0: pellucid.Model, cat: Image.Image) -> Callable[[str], Case]:
    """The case of a model, by its name."""
    x = lite0.prepare([cat])
    return cache(lambda name: build_case(name, lite0.module, x))
