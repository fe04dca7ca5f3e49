"""Recipes of cross-encoders: a head that reads text and image together, trained beside a dual encoder."""
