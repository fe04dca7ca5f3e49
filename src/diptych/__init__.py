"""Diptych: align images with language. Train, measure, index and search a collection of image-text pairs."""

import time

__version__ = "0.1.0"

STARTED = time.perf_counter()
"""When the package was first imported: before its slow imports, so that what a command reports includes them."""
