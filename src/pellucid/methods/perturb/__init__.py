"""Attributions from altered inputs: what the score does when parts of a picture are hidden."""
