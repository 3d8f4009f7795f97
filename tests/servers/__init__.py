"""Real servers for tests, each from a wheel: started here, dead with the test process, nothing left behind."""
