"""The lexical family: images and texts as sparse weights of words, or of a shared codebook's vectors."""
