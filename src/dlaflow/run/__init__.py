"""Runners with one interface."""
