"""Pages for people who are signed in: registered agents, start of jobs, access.  Plain HTML, no script."""
