"""Which layer, which of its calls, and how each holds its grid: found out once for each model and input size.

The first pass that asks for a layer is run under a `Follower`, which knows the axes of every tensor; what it
finds is kept for as long as the model lives, and later passes follow nothing. Where the axes of an output
could not be followed, a pass over changed pictures tells (`engine.tracing`).
"""
