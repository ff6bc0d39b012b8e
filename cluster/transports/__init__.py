"""How two endpoints reach each other: by reference, shared memory, TCP, Flight. `transport.py` is the door."""
