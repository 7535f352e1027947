"""Models: loading, encoders, generators, translators, readers."""
