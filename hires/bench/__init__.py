"""Time, memory and achieved arithmetic of this machine: the library behind ``hires bench``.

`cases` says what is measured, `work` counts its arithmetic; a `worker`, a child process, does the
`exercises` and the `roofline`; `runs` makes a `report` of what it says, `outputs` the files.
"""
