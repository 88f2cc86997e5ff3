"""Kubernetes: which objects are deployed, which containers there are, and what reaches them."""
