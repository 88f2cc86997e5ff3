"""The sans-IO protocol, against models and against every real shell that is installed."""
