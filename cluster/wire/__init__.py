"""What a session, the tasks and their peers say to each other, as bytes: messages, plans, traces."""
