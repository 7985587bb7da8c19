"""Judging motion against real, tracked faces."""
