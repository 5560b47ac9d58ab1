"""What Prometheus and Alertmanager read; ``python -m alertmanager.generate`` makes what follows from the rules."""
