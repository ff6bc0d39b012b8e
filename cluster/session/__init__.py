"""The side of a session: its engine, which tells tasks what to run and hears what became of it."""
