"""Branches and loops whose operations have several devices: a part a device, which meet inside."""
