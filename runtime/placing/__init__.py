"""Which device each operation goes to: by request, or by what it was measured to cost."""
