"""PostgreSQL: what is kept, and how."""
