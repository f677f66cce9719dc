"""Metrics of axiomatic: whether the map keeps what theory promises."""
