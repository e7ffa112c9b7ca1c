"""The result of a sweep: what it holds, how sweeps are joined and compared, and what is shown of one."""
