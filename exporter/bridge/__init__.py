"""The client of the participant's Bridge."""
