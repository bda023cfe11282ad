"""Labelled spans of a text, or a label for every word."""
