"""Stand-ins for what lies behind the ports: in memory, under a clock that the test moves."""
