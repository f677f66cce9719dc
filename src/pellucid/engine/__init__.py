"""How a model is run: passes, hooks, chunks, precision, progress. No formulas."""
