"""The verdict: which maps of a picture the model's own answers support, in numbers and in words."""

from pellucid.verdict.record import MapVerdict, Verdict

__all__ = ["MapVerdict", "Verdict"]
