"""Data sets of any size: a source of pictures, a worker that explains them, a store that loses nothing."""
