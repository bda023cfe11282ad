"""Word2Vec: vocabulary, training, file formats, queries and intrinsic evaluation."""
