"""From a program to plans: the stages that `pipeline.py` puts in a row, and the values that they hand on."""
