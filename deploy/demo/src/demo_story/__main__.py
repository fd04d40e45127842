"""`python -m demo_story`: what `make demo` plays once the stack is up."""

import sys

try:
    from demo_story.cli import main

    code = main()
except KeyboardInterrupt:  # so early that nothing was begun
    code = 130
sys.exit(code)
