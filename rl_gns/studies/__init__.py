"""Many runs: a study file, its plan, who runs it, and the table derived from the run directories."""
