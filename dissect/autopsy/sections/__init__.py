"""The sections of the report, one a file: each makes a `Section` of stored results, and says what is missing."""
