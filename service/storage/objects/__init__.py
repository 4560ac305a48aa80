"""Files of jobs as objects of a store such as S3. A process keeps copies of those that it needs in a scratch folder."""
