"""Measurements that are reported in docs/ and benchmarks/README.md; run by hand, never as tests."""
