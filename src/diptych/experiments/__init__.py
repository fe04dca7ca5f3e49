"""Recipes run fairly against each other, and claims of papers measured."""
