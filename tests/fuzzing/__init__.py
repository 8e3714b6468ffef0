"""Fuzzing, see `targets.py`.

A package, because `targets`, imported by that name alone, could be anybody's.
"""
