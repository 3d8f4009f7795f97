"""A server of the Model Context Protocol: an agent plans, runs and reads jobs, inside a budget. Thin over `api`."""
