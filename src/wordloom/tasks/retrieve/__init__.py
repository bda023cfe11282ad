"""Vectors of texts, so that those that belong together are near."""
