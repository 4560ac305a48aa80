"""Files of jobs: uploads, mask logs, results."""
