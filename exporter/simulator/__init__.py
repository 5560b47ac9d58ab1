"""A Bridge with real token buckets and scripted traffic."""
