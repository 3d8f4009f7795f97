"""Whatever strangers may hand us, mutated: result files, job files, settings, requests; and steps in any order."""
