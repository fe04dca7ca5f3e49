"""New models that work with what an old one has embedded."""
