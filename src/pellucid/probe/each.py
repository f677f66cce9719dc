"""One image at a time, where what is asked about it depends on the image."""

from collections.abc import Callable
from typing import TypeVar

from pellucid.errors import ModelError, ModelFailed, PellucidError
from pellucid.probe.probe import Probe

T = TypeVar("T")


def of_each(probe: Probe, find: Callable[[Probe, int], T]) -> list[T]:
    """What `find(probe of one image, its number)` gives for each image of a batch.

    An image for which it fails costs the others nothing: in its place there is what another one gave, and
    the probe knows that it is not to be read.

    Raises:
        PellucidError: it fails for all images, or whatever the image.
    """
    found: dict[int, T] = {}
    for image in range(len(probe.inputs)):
        if image in probe.failures:
            continue
        try:
            found[image] = find(probe.one(image), image)
        except PellucidError as error:
            if isinstance(error, ModelError) and not isinstance(error, ModelFailed):
                raise
            probe.fail(image, error)
    instead = next(iter(found.values()))
    return [found.get(image, instead) for image in range(len(probe.inputs))]
