"""Metrics of faithfulness: whether the model uses what the map marks."""
