"""Bytes between locations: streams of commands, and copies of files and trees."""
