"""Data: sources, decoding, processors, keys, batches, built-in tables."""
