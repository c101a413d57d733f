"""A run's folder read, drawn and written as one page; `mer-r1 report` is its verb."""
