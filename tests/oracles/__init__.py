"""Plain implementations, in float64 and loops, that the vectorised ones are compared with."""
