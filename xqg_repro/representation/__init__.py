"""From passages to vectors: generate, translate, encode, sum, augment."""
