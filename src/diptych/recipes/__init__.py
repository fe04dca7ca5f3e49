"""Recipes: one published system a file. The file's name is the method's name and the only registry."""

from diptych.recipes.find import find_recipe, recipe_names

__all__ = ["find_recipe", "recipe_names"]
