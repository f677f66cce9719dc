"""Options of methods and metrics: their types, what a signature says of them, and how values are read."""
