"""Turn exported motion vectors into motion fields, references and residuals."""
