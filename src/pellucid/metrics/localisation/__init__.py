"""Metrics of localisation: whether the evidence lies where the object is."""
