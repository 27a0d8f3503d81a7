"""Diptych's models inside other frameworks: one adapter a file, which imports its framework and nothing else does.

    diptych.integrations.sentence_transformers   a dual encoder as a SentenceTransformer, with images
    diptych.integrations.mteb                    a dual encoder and a cross-encoder for MTEB and MIEB
    diptych.integrations.lancedb                 an embedding function of LanceDB tables
    diptych.integrations.langchain               LangChain's Embeddings, with `embed_image`
    diptych.integrations.llama_index             LlamaIndex's MultiModalEmbedding
    diptych.integrations.haystack                Haystack's text and document embedders

The other way needs no adapter: a folder of sentence-transformers is the address "sentence-transformers:FOLDER". Install
the framework yourself; none of them is an extra of Diptych. What each is tested with stands in docs/integrations.md.
"""
