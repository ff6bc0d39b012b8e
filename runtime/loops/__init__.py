"""Branches and loops of one device: their functions are planned within a step's plan; a loop becomes one function."""
