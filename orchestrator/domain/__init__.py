"""Pure rules: values and functions of values. No clock, chance, network, disk or thread."""
