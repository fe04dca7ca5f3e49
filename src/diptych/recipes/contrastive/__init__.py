"""The contrastive family: two encoders aligned by comparing pairs."""
