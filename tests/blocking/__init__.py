"""The blocking face: the same names, the same results, and nothing left of its thread."""
