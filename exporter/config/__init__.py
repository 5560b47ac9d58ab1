"""Configuration: its `settings`, read from a file and the environment, with their secrets, and checked."""
