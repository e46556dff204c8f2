"""celeriac beside LangChain and LlamaIndex: docs/comparison.md says what is compared and how."""
