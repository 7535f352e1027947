"""xqg_repro: cross-lingual dense retrieval with query-augmented passage representations, reproducibly."""

__version__ = "0.1.0"
