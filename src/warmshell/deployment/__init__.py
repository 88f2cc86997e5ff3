"""Deployments: the file that names them, and what deploys each once, in order, and takes it down again."""
