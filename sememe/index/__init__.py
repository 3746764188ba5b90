"""Derived neighbours: files that can be deleted at any time and are built again from the truth."""
