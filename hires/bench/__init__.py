"""Time, memory and achieved arithmetic of this machine: the library behind ``hires bench``.

`cases` says what is measured, `work` counts its arithmetic; a `worker`, a child process, does the
`exercises` (watched by a `profile`) and the `roofline`; `runs` makes a `report` of what it says,
`outputs` the files. `checks` and `kernels` examine a device beyond its steps.
"""
