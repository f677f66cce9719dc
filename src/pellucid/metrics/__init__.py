"""Measures of what an explanation, or a method, is worth."""
