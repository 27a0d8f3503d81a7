"""`diptych rerank`: re-rank search results with a cross-encoder."""
