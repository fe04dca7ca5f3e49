"""Codes of bits in place of vectors."""
