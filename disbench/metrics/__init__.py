"""Metrics: one file each, with draw(), score(), the plain function of its name, and `METRIC`, its specification."""
