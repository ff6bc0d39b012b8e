"""Sessions for trainings: made ready, restored, made anew when lost, and driven with hooks."""
