"""Input through queues: the threads that fill them, how these stop together, and what they read."""
