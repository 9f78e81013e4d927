"""The teacher: a vision-language model that reasons about quality before it scores it."""
