"""Small networks of the usual families: their blocks, and those that model files name."""
