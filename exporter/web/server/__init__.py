"""The HTTP server: TLS, basic auth, limits, and what a request must be."""
