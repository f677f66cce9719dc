"""Metrics of complexity: how concentrated the map is."""
