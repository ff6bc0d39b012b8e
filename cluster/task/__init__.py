"""The side of a task: it takes plans and steps from sessions, runs them, and exchanges tensors with other tasks."""
