"""MirroredStrategy: a model on several devices, its variables on each of them, and how gradients become one."""
