"""Recipes without pictures: both views are texts, read by one tower."""
