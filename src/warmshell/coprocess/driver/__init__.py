"""Coprocesses shared by the commands of one user: a small server that holds a pool, and those who call it."""

from __future__ import annotations
