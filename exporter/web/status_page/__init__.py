"""The pages for people: status, buckets, alerts."""
