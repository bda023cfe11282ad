"""Answers to questions: spans of a text, or that there is none."""
