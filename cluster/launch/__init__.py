"""`weft launch`: the programs of a job, one a task, started and watched over on Ray."""
