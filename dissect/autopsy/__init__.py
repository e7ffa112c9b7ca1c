"""The autopsy behind ``dissect.report``: stored results in, one page out."""
