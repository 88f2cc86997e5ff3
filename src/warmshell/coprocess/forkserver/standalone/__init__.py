"""Files that run alone, with Python 3.8 or later and its standard library only: the server of a tool and its client."""
