"""Metrics on images that a model makes: one metric, one file."""
