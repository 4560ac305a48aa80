"""Files of jobs: uploads, mask logs and results."""
