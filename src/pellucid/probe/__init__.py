"""Evidence that one model gives about one batch and one target: each piece is computed once.

Its cost and what was noted while it was made come with it. Methods read what they need and never run the
model themselves: two methods that need the same evidence share it, and so do two targets where the evidence
does not depend on the target.
"""

from pellucid.probe.each import of_each
from pellucid.probe.layer import LayerEvidence, layer_evidence
from pellucid.probe.modified import ModifiedRun, run_with
from pellucid.probe.probe import Probe

__all__ = ["LayerEvidence", "ModifiedRun", "Probe", "layer_evidence", "of_each", "run_with"]
