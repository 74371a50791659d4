"""The ``hires`` command: what is typed, help, displays, exit codes; commands/ runs each."""
