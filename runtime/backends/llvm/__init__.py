"""The backend "llvm": machine code of regions, updates, products, convolutions and rows; `backend.py` is its door."""
