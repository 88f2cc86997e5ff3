"""Places that are reached by a stream to a far shell: what they all share, whatever carries the stream."""
