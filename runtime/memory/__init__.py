"""Memory: places in a block that are given out while a plan is made, and what is kept and used again while it runs."""
