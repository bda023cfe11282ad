"""Search: words of a text, BM25, rankings and their fusion, and an index on disk."""
