import sys
from pathlib import Path

# --import-mode=importlib puts no test folder on the path; the examples are shared by this member's tests alone.
sys.path.insert(0, str(Path(__file__).parent))
