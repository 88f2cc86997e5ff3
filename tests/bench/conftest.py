import sys
from pathlib import Path

# The harness is not part of the package: it is imported from the project's folder, as `python -m bench` does.
sys.path.insert(0, str(Path(__file__).parents[2]))
