"""Mask methods: the least of an image that must be hidden, or shown, to change what the model says."""
