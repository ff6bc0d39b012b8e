"""How a plan runs: its function, written and compiled, and what that stands on: threads, meeting places, ways to end."""
