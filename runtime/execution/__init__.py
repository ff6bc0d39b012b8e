"""What a plan's function stands on while it runs: memory, threads, meeting places, the ways it may end."""
