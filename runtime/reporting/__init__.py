"""What sessions tell of what they do: traces, what was made of a step and where it goes, races."""
