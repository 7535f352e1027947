"""Training of the models that the stages use."""
