"""Attributions from perturbed inputs: what the score does when parts of a picture are hidden."""
