"""Measuring Warmshell against its peers and against floors: see ``python -m bench --help``."""
