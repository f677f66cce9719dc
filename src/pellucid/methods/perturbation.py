"""What perturbation methods share: how they are registered, and what they cost."""

from functools import partial

from pellucid.methods.definition import Counting, Passes
from pellucid.methods.registry import method

perturbation = partial(method, reads="perturbed inputs", output="probability")
"""Registers a perturbation method: as their papers do, they explain probabilities."""


def at_most(most: int) -> Counting:
    """The passes of a method with `samples`, which may be "auto"."""
    return lambda options: Passes(most if options["samples"] == "auto" else options["samples"])
