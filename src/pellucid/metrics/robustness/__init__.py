"""Metrics of robustness: whether the map stays as it is where the input hardly changes."""
