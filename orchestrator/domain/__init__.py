"""Pure rules: values and functions of values. No clock, randomness, network, disk or threads."""
