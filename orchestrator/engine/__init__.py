"""Which concrete thing stands behind each port, and each step bound to what it needs. Nobody else names adapters."""
