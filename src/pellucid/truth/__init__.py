"""Planted truth: scenes of which it is known where the evidence lies, for networks that were trained on them.

Every element of a scene can be rendered away. What a trained network decides by is found by doing that, never
taken from the label that a scene was drawn for.
"""
