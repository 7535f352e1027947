"""What the small models that ship with the package are trained on and built from."""
