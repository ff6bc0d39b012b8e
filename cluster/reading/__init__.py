"""Reads what comes over connections, in the thread that waits for it, or in one that stands by."""
