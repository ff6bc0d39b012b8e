"""How a plan runs: its function, written and compiled, and what that stands on: threads, meeting places, errors, the ways it may end."""
