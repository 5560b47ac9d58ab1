"""The whole system on this machine, from wheels alone."""
