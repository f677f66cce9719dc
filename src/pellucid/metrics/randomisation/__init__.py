"""Metrics of randomisation: whether the map depends on what the model has learnt."""
