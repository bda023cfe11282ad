"""Labels or numbers of texts: by a network, or by a linear classifier on features."""
