"""Clusters on Ray: one actor a task, watched, and started anew when it ends."""
