"""Recipes that look at regions of a picture, not at all of it at once."""
