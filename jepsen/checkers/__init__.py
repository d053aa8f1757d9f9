"""Judges of histories. Pure: a history in, a verdict out; a saved history is judged the same way later."""
