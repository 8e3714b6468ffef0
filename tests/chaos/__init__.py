"""The soak: a server that lives again and again, and hundreds of clients that behave in every way. See `test_soak.py`.

A package, because `client`, imported by that name alone, could be anybody's.
"""
