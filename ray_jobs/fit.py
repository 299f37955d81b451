"""`fuseid fit` as a job: `python -m fuseid.ray_jobs.fit --db DB`; it runs in the driver."""

from fuseid.ray_jobs import command

if __name__ == "__main__":
    command.run("fit")
