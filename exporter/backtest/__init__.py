"""What rules would have raised over the stored history, beside what was raised."""
