"""Text to text: translation and summaries."""
