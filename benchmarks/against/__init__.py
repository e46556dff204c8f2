"""celeriac beside LangChain's `index()` and LlamaIndex's IngestionPipeline; see docs/comparison.md."""
