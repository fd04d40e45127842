"""`python -m local_stack up|down|status|logs|operate|fetch`."""

import sys

try:
    from local_stack.cli import main

    code = main()
except KeyboardInterrupt:  # interrupted before anything began
    code = 130
sys.exit(code)
