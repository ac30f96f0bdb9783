# What the progress display (workflow/logger) is told before the first job starts. Without its plugin nothing is told.
def planned(job):
    """Return a job for the display: what it is, whether it runs alone, and what it trains."""
    trains = trained_by(job.wildcards) if job.rule.name in TRAIN else []
    return {
        "rule": job.rule.name,
        "wildcards": dict(job.wildcards_dict),
        "is_alone": job.threads > 1 or bool(job.resources.get("gpu")),
        "trains": (experiment_file(job.wildcards.exhibit), [part.label for part in trains]) if trains else None,
    }


onstart:
    forked.start(SERVED)
    # With a limit on jobs per second, each look for jobs has another one follow: ever more, which in the end take a core's whole time.
    if not workflow.non_local_exec:
        workflow.scheduler.job_rate_limiter = None
    if displays := [handler for handler in workflow.logger_manager.get_log_handlers() if hasattr(handler, "begin")]:
        needed = {workflow.dag.jobid(job): planned(job) for job in workflow.dag.needrun_jobs()}
        facts = {
            "scale": SCALE,
            "scale_file": SCALE_OPTION,
            "scales": str(WORKFLOW / "scales"),
            "device": DEVICE,
            "cores": workflow.cores or 1,
            "root": config["root"],
            "log": ", ".join(os.path.relpath(log) for log in workflow.logger_manager.get_logfile()),
            "ready": sum(1 for _ in workflow.dag.jobs) - len(needed),
            "jobs": needed,
            "counts": SCALE_FILE.data == "real",
        }
        for display in displays:
            display.begin(facts)
