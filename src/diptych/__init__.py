"""Diptych: align images with language. Train, measure, index and search a collection of image-text pairs."""

__version__ = "0.1.0"
