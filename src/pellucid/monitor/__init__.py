"""Training watched: a fixed set of pictures is explained every so many steps, unnoticed."""
