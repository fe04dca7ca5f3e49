"""Recipes run fairly against each other: the same rows, order, budget and measurement, and how sure the answer is."""
