"""The way out: a question becomes a plan, the plan becomes hits."""
