"""Data sets with ground-truth factors: one file per family; `DATASETS` in each names what it offers."""
