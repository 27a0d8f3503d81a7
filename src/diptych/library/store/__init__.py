"""Where rows live: the protocol of a store, Lance (a folder or object storage), Milvus, and their common filters."""
